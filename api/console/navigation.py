"""The main menu: which page, under which text, for whom. A page stands in it where its reader may do its action."""

from __future__ import annotations

from typing import Literal, NamedTuple

from api.console import BASE
from api.console.visit import PUBLIC
from gateway.accounts.roles import Action


class Entry(NamedTuple):
    """``path`` below the console's own; ``whole``: every page whose address begins so belongs to the entry."""

    path: str
    text: str
    action: Action | Literal["public"]
    whole: str = ""


NAVIGATION: tuple[Entry, ...] = (
    Entry("", "page.usage", "usage.read"),
    Entry("/models", "page.models", PUBLIC),
    Entry("/keys", "page.keys", "key.read"),
    Entry("/playground", "page.playground", "model.call"),
    Entry("/docs", "page.docs", PUBLIC, whole="/console/docs"),
    Entry("/settings", "page.settings", "session.self", whole="/console/settings"),
    Entry("/finance", "page.finance", "invoice.read", f"{BASE}/finance"),
    Entry("/operator", "page.operator", "installation.finance", f"{BASE}/operator"),
)

SECTIONS: dict[str, tuple[Entry, ...]] = {
    "finance": (
        Entry("/finance", "finance.months", "invoice.read", f"{BASE}/finance/months"),
        Entry("/finance/exports", "finance.exports", "export.read"),
        Entry("/finance/payments", "finance.payments", "invoice.read"),
        Entry("/finance/statements", "finance.statements", "installation.finance"),
        Entry("/finance/checks", "finance.checks", "installation.finance"),
    ),
    "operator": (
        Entry("/operator", "operator.overview", "installation.finance"),
        Entry("/operator/deployments", "operator.deployments", "installation.finance"),
        Entry("/operator/prices", "operator.prices", "installation.finance"),
        Entry("/operator/organizations", "operator.organizations", "installation.organizations"),
        Entry("/operator/dead-letters", "operator.dead_letters", "installation.finance"),
    ),
}
"""The pages of a section, as tabs above each of them."""
