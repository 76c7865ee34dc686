"""Every page, in both languages, wide and narrow: accessible, no wider than the screen, without a complaint."""

from __future__ import annotations

import pytest

from api.console import documentation
from api.console.navigation import NAVIGATION, SECTIONS
from api.console.settings import layout as settings
from tests.browser.conftest import BROWSER, Open, Person, Site

pytestmark = BROWSER

MONTH = "202602"
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
NOBODYS = ("/sign-in", "/password", "/password/forgotten", "/invitation")
"""Pages of who is not signed in."""


@pytest.fixture(scope="module")
def org(site: Site) -> str:
    """A customer with calls in a month that is over."""
    return site.customer("새봄전자", MONTH)


@pytest.fixture(scope="module")
def key(site: Site, org: str) -> str:
    """The id of a key of theirs."""
    return str(site.ask("key", "list", "--org", org)[0]["id"])


@pytest.fixture(scope="module")
def people(site: Site, org: str) -> dict[str, Person]:
    return {"owner": site.person("박대표", org=org), "operator": site.person("김운영", operator=True)}


@pytest.mark.parametrize("who", ["owner", "operator"])
@pytest.mark.parametrize(("lang", "width", "dark"), [("ko", 1440, False), ("en", 390, True)])
def test_pages_are_accessible_and_fit(
    opened: Open, people: dict[str, Person], org: str, key: str, axe: str, who: str, lang: str, width: int, dark: bool
) -> None:
    visitor = opened(lang=lang, width=width, dark=dark)
    issues: list[str] = []
    for path in NOBODYS:
        assert visitor.go(path).status == 200, path
        assert visitor.overflow() <= 0, path
        issues += visitor.accessibility(axe)
    visitor.sign_in(people[who].email, people[who].password)
    for pattern in PAGES[who]:
        path = pattern.format(month=MONTH, org=org, key=key)
        assert visitor.go(path).status == 200, path
        assert visitor.overflow() <= 0, path
        issues += visitor.accessibility(axe)
    assert issues == []


def test_the_menu_opens_on_a_phone_with_the_keyboard_alone(opened: Open, people: dict[str, Person]) -> None:
    visitor = opened(people["operator"], width=390)
    menu = visitor.page.locator("details.menu > summary")
    menu.focus()
    visitor.page.keyboard.press("Enter")
    for _ in range(20):
        visitor.page.keyboard.press("Tab")
        if visitor.page.evaluate("document.activeElement.textContent") == "운영":
            break
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**/console/operator")
    assert visitor.page.get_by_role("heading", name="상태", level=1).is_visible()
