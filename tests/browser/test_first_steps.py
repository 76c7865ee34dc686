"""A developer's first quarter of an hour: sign in, make a key, call with it, see what it cost."""

from __future__ import annotations

import re
from decimal import Decimal

import openai
import pytest

from tests.browser.conftest import BROWSER, Open, Site

pytestmark = BROWSER


def test_sign_in_make_a_key_call_with_it_and_see_the_cost_appear_by_itself(site: Site, opened: Open) -> None:
    org = site.organisation("browser-first-steps", won=50_000)
    visitor = opened(site.person("김개발", org=org))
    page = visitor.page
    assert "아직 호출이 없습니다" in visitor.text()
    page.get_by_role("navigation", name="주 메뉴").get_by_role("link", name="API 키").click()
    page.fill("main input[name=name]", "첫 키")
    visitor.click("button", "키 만들기")
    key = page.input_value("#secret")
    assert key.startswith("sk-br-v1-")
    visitor.go()
    with openai.OpenAI(base_url=f"{site.root}/api/v1", api_key=key, max_retries=0, timeout=60) as client:
        answer = client.chat.completions.create(
            model="openai/gpt-4o", messages=[{"role": "user", "content": "안녕 [[mock tokens=20]]"}]
        )
    charged = Decimal(answer.usage.model_extra["cost_krw"])  # type: ignore[union-attr, index]
    page.locator("table.cards td.strong", has_text=f"{charged:f}원").wait_for()
    page.get_by_role("link", name=re.compile("호출 영수증$")).click()
    assert f"{charged:f}원" in page.inner_text(".amount.exact")


@pytest.mark.parametrize("script", [True, False])
def test_a_wrong_password_is_said_and_the_address_kept(site: Site, opened: Open, script: bool) -> None:
    person = site.person("김오타", org=site.organisation("browser-typo", won=0))
    visitor = opened(script=script)
    visitor.go("/sign-in")
    visitor.page.fill("input[name=email]", person.email)
    visitor.page.fill("input[name=password]", "not the password")
    visitor.page.click("main button")
    visitor.page.get_by_role("alert").wait_for()
    assert visitor.page.input_value("input[name=email]") == person.email
    visitor.expected("401")
