"""The console's pages, by who looks at them: what every test and picture of "every page" goes through.

``{month}``, ``{org}`` and ``{key}`` stand for a closed month, an organisation and a key of the scene.
"""

from __future__ import annotations

from api.console import documentation
from api.console.navigation import NAVIGATION, SECTIONS
from api.console.settings import layout as settings

OWNERS = [
    *(entry.path for entry in NAVIGATION if entry.path not in ("/operator", "/settings")),
    *(f"/settings/{entry.section}" for entry in settings.SECTIONS),
    *(entry.path for entry in SECTIONS["finance"] if entry.action != "installation.finance"),
    *(f"/docs/{page}" for page in (*documentation.PAGES, *documentation.REFERENCES)),
    "/finance/months/{month}", "/finance/months/{month}/{org}", "/keys/{key}/change", "/keys/{key}/rotation",
    "/keys/{key}/deletion",
]  # fmt: skip
OPERATORS = [
    *(entry.path for entry in (*SECTIONS["operator"], *SECTIONS["finance"])), "/operator/organizations/{org}",
    "/finance/months/{month}", "/finance/months/{month}/{org}", "/organization",
]  # fmt: skip
PAGES = {"owner": OWNERS, "operator": OPERATORS}
NOBODYS = ["/sign-in", "/password", "/password/forgotten", "/invitation"]
"""Pages of who is not signed in."""
