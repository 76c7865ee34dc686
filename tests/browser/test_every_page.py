"""Every page, in both languages, wide and narrow: accessible, no wider than the screen, without a complaint."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Open, Person, Site

pytestmark = [pytest.mark.browser, pytest.mark.installation]

PAGES = ["", "/models", "/keys"]


@pytest.fixture(scope="module")
def owner(site: Site) -> Person:
    org = site.organisation("browser-pages", won=30_000)
    site.key(org, "상담 봇")
    return site.person("박대표", org=org)


@pytest.mark.parametrize("lang", ["ko", "en"])
@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
def test_pages_are_accessible_and_fit(opened: Open, owner: Person, axe: str, lang: str, width: int, dark: bool) -> None:
    visitor = opened(lang=lang, width=width, dark=dark)
    visitor.go("/sign-in")
    issues = visitor.accessibility(axe)
    visitor.sign_in(owner.email, owner.password)
    for path in PAGES:
        assert visitor.go(path).status == 200, path
        assert visitor.overflow() <= 0, path
        issues += visitor.accessibility(axe)
    assert issues == []
