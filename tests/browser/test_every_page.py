"""Every page, in both languages, wide and narrow: accessible, light, no wider than the screen, without a complaint."""

from __future__ import annotations

import pytest

from tests.browser.conftest import BROWSER, Open
from tests.browser.pages import NOBODYS, PAGES
from tests.browser.scene import Scene
from tests.browser.visitor import HEAVIEST_PAGE

pytestmark = BROWSER


@pytest.mark.parametrize("who", ["owner", "operator"])
@pytest.mark.parametrize(("lang", "width", "dark"), [("ko", 1440, False), ("en", 390, True)])
def test_pages_are_accessible_light_and_fit(
    opened: Open, scene: Scene, axe: str, who: str, lang: str, width: int, dark: bool
) -> None:
    visitor = opened(lang=lang, width=width, dark=dark)
    person = getattr(scene, who)
    problems: list[str] = []
    for pattern in [*(NOBODYS if who == "owner" else ()), "sign in", *PAGES[who]]:
        if pattern == "sign in":
            visitor.sign_in(person.email, person.password)
            continue
        path = pattern.format(month=scene.closed, org=scene.org, key=scene.key)
        status, over, weight = visitor.go(path).status, visitor.overflow(), visitor.weight()
        if status != 200 or over > 0 or weight > HEAVIEST_PAGE:
            problems.append(f"{path}: status {status}, {over} pixels too wide, {weight} bytes")
        problems += visitor.accessibility(axe)
    assert problems == []


def test_the_menu_opens_on_a_phone_with_the_keyboard_alone(opened: Open, scene: Scene) -> None:
    visitor = opened(scene.operator, width=390)
    menu = visitor.page.locator("details.menu > summary")
    menu.focus()
    visitor.page.keyboard.press("Enter")
    assert visitor.page.get_by_role("button", name="로그아웃").is_visible()
    visitor.page.keyboard.press("Escape")
    assert visitor.page.get_by_role("button", name="로그아웃").count() == 0
    visitor.page.keyboard.press("Enter")
    for _ in range(20):
        visitor.page.keyboard.press("Tab")
        if visitor.page.evaluate("document.activeElement.textContent") == "운영":
            break
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**/console/operator")
    assert visitor.page.get_by_role("heading", name="상태", level=1).is_visible()


def test_a_chart_says_the_exact_value_of_the_bar_under_the_pointer(opened: Open, scene: Scene) -> None:
    visitor = opened(scene.owner)
    bar = visitor.page.locator(".plot g:has(rect.bar)").first
    exact = bar.locator("title").text_content()
    before = visitor.page.inner_text("[data-readout]")
    bar.hover()
    assert visitor.page.inner_text("[data-readout]") == exact != before
    visitor.page.locator("h1").hover()
    assert visitor.page.inner_text("[data-readout]") == before


def test_a_wrong_password_is_said_and_the_address_kept(opened: Open, scene: Scene) -> None:
    visitor = opened()
    visitor.go("/sign-in")
    visitor.page.fill("input[name=email]", scene.owner.email)
    visitor.page.fill("input[name=password]", "not the password")
    with visitor.page.expect_console_message(lambda message: "401" in message.text):
        visitor.page.click("main button")
    visitor.page.get_by_role("alert").wait_for()
    assert visitor.page.input_value("input[name=email]") == scene.owner.email
    visitor.expected("401")
