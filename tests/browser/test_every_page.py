"""Every page, in both languages, wide and narrow: accessible, no wider than the screen, without a complaint."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Open, Person, Site

pytestmark = [pytest.mark.browser, pytest.mark.installation]

MONTH = "202602"
PAGES = {
    "owner": ["", "/models", "/keys", "/finance", "/finance/months/{month}", "/finance/months/{month}/{org}",
              "/finance/exports", "/finance/payments"],
    "operator": [
        "/operator", "/operator/deployments", "/operator/prices", "/operator/organizations",
        "/operator/organizations/{org}", "/operator/dead-letters", "/finance", "/finance/months/{month}",
        "/finance/months/{month}/{org}", "/finance/statements", "/finance/checks",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def org(site: Site) -> str:
    """A customer with calls in a month that is over."""
    return site.customer("새봄전자", MONTH)


@pytest.fixture(scope="module")
def people(site: Site, org: str) -> dict[str, Person]:
    return {"owner": site.person("박대표", org=org), "operator": site.person("김운영", operator=True)}


@pytest.mark.parametrize("who", ["owner", "operator"])
@pytest.mark.parametrize(("lang", "width", "dark"), [("ko", 1440, False), ("en", 390, True)])
def test_pages_are_accessible_and_fit(
    opened: Open, people: dict[str, Person], org: str, axe: str, who: str, lang: str, width: int, dark: bool
) -> None:
    visitor = opened(lang=lang, width=width, dark=dark)
    visitor.go("/sign-in")
    issues = visitor.accessibility(axe)
    visitor.sign_in(people[who].email, people[who].password)
    for pattern in PAGES[who]:
        path = pattern.format(month=MONTH, org=org)
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
