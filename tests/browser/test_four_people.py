"""A whole day of the four people whom the console is for, each in their own browser."""

from __future__ import annotations

import base64
import io
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import openai
import openpyxl
import pytest

from tests.browser.conftest import BROWSER, Open, Person, Site
from tests.browser.scene import PAINTER
from tests.browser.visitor import Visitor
from tests.operating import until
from tests.provider.dialects.google import PICTURE
from tests.provider.server import Provider

pytestmark = BROWSER

MONTH = "202601"
"""A month that was over before this was written."""
SAY_SECRET: Any = [{"role": "user", "content": "기밀 문서를 요약해 줘"}]


def client(site: Site, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{site.root}/api/v1", api_key=key, max_retries=0, timeout=60)


def status(site: Site, key: str) -> int:
    """The status of a call of the model that is drained below."""
    body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    return httpx.post(
        f"{site.root}/api/v1/chat/completions", json=body, headers={"X-API-Key": key}, timeout=60
    ).status_code


def finished(visitor: Visitor) -> None:
    """Waits on a task's page until it is done; the page renews itself."""
    visitor.page.locator("#live .tag.good, #live .tag.bad").first.wait_for()
    assert visitor.page.locator("#live .tag.bad").count() == 0, visitor.text()


def answered(visitor: Visitor) -> None:
    """Waits in the playground until all answers have ended, and the page has kept them and shows the code anew."""
    visitor.page.locator("#turns[aria-busy=false]").wait_for()


def test_a_developer_makes_a_key_calls_with_the_sdk_and_reads_the_receipt(
    site: Site, opened: Open, upstream: Provider
) -> None:
    org = site.organisation("developer", won=20_000)
    visitor = opened(site.person("김개발", org=org, role="member"), lang="en")
    page = visitor.page
    page.get_by_role("link", name="API keys", exact=True).click()
    page.fill("main input[name=name]", "my first key")
    visitor.click("button", "Make key")
    key = page.input_value("#secret")
    visitor.go()
    with client(site, key) as calling:
        answer = calling.chat.completions.create(
            model="openai/gpt-4o",
            messages=[{"role": "user", "content": "hi [[mock tokens=9]]"}],
            extra_headers={"X-Title": "notebook"},
        )
    cost = Decimal(answer.usage.model_extra["cost_krw"])  # type: ignore[union-attr, index]
    page.locator("table.cards td.strong", has_text=f"₩{cost:f}").wait_for()
    assert "notebook" in visitor.text() and "100.0%" in visitor.text()
    page.get_by_role("link", name="Receipt of the openai/gpt-4o call").click()
    assert page.inner_text(".amount.exact") == f"₩{cost:f}"
    compare(visitor, upstream)


def compare(visitor: Visitor, upstream: Provider) -> None:
    """Two models side by side, with what each cost; the conversation is the browser's alone and outlives a reload."""
    page = visitor.page
    visitor.go("/playground?model=openai/gpt-4o")
    page.locator("select[name=model2]").select_option("openai/gpt-5-mini")
    page.fill("#prompt", "compare yourselves [[mock tokens=30 delay=20ms gate=1]]")
    upstream.gate.close()
    try:
        visitor.click("button", "Send")
        page.locator(".answer .words").nth(1).wait_for()  # the first token is there, from which the speed is measured
    finally:
        upstream.gate.open()
    answered(visitor)
    for told in page.locator(".answer footer").all_inner_texts():
        assert "tokens/s" in told and "₩" in told, told
    assert "openai/gpt-4o" in page.inner_text("#code") and f"{visitor.root}/api/v1" in page.inner_text("#code")
    page.reload()
    page.locator(".answer").nth(1).wait_for()
    assert "compare yourselves" in page.inner_text("#turns")


def test_pictures_go_into_the_playground_and_come_out_of_it(site: Site, opened: Open, upstream: Provider) -> None:
    visitor = opened(site.person("최그림", org=site.organisation("painter", won=20_000), role="member"), lang="en")
    page = visitor.page
    visitor.go(f"/playground?model={PAINTER}")
    sent = base64.b64encode(base64.b64decode(PICTURE) + b"ours").decode()  # bytes after a PNG's end do no harm
    picture: Any = {"name": "harbour.png", "mimeType": "image/png", "buffer": base64.b64decode(sent)}
    page.set_input_files(
        "input[name=files]", [picture, picture, {"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%"}]
    )
    thumbs = page.locator("#pictures button")
    thumbs.nth(1).click()  # one is enough
    assert thumbs.count() == 1
    page.fill("#prompt", "the same at night [[mock tokens=4 images=1]]")
    with page.expect_request("**/chat/completions") as asked:
        visitor.click("button", "Send")
    assert sent in asked.value.post_data
    drawn = page.locator(".answer img")
    drawn.first.wait_for()
    answered(visitor)
    assert page.locator(".answer footer a").count() == 1
    assert drawn.get_attribute("src") == f"data:image/png;base64,{PICTURE}"
    assert drawn.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    assert page.locator(".mine img").get_attribute("src") == f"data:image/png;base64,{sent}"
    assert (thumbs.count(), "₩" in page.inner_text(".answer footer")) == (0, True)
    assert upstream.log.calls[-1].prompt_tokens > 85, "the picture went on to the provider"
    assert sent not in page.inner_text("#code") and "data:image/png;base64,..." in page.inner_text("#code")


def test_an_owner_forbids_a_word_and_the_call_is_refused(site: Site, opened: Open, upstream: Provider) -> None:
    org = site.organisation("owner", won=20_000)
    key = site.key(org)
    visitor = opened(site.person("박대표", org=org))
    visitor.go("/settings/words")
    visitor.page.fill("textarea[name=words]", "기밀")
    with visitor.page.expect_navigation():
        visitor.page.locator("form:has(textarea[name=words]) button").click()
    assert "기밀" in visitor.page.inner_text("ul.words")
    before = len(upstream.log.calls)
    with client(site, key) as calling, pytest.raises(openai.BadRequestError) as refused:
        calling.chat.completions.create(model="openai/gpt-4o", messages=SAY_SECRET)
    assert refused.value.code == "forbidden_content" and "사내 금지어" in str(refused.value)
    assert len(upstream.log.calls) == before


def test_finance_downloads_the_month_and_the_file_says_what_the_page_says(
    site: Site, opened: Open, tmp_path: Path
) -> None:
    org = site.customer("한빛데이터", MONTH)
    visitor = opened(site.person("이회계", org=org, role="finance"))
    visitor.page.get_by_role("navigation", name="주 메뉴").get_by_role("link", name="정산").click()
    visitor.click("link", "2026-01")
    used = Decimal(visitor.page.locator(".figure .amount").first.get_attribute("title").replace(",", "").rstrip("원"))  # type: ignore[union-attr]
    assert used > 0
    visitor.click("button", "정산서 (Excel)")
    finished(visitor)
    with visitor.page.expect_download() as coming:
        visitor.click("link", "파일 내려받기")
    book = openpyxl.load_workbook(io.BytesIO(Path(coming.value.path()).read_bytes()))
    rows = list(book.worksheets[0].iter_rows(values_only=True))
    exact = rows[0].index("정확금액")
    told = sum(Decimal(str(row[exact])) for row in rows[2:-1] if row[exact])
    assert 0 <= used - told < Decimal("0.001"), "the page counts each call up to a millionth of a won"
    assert {row[rows[0].index("앱(X-Title)")] for row in rows[2:-1]} == {"상담 봇", "번역기"}


def test_two_operators_close_a_month(site: Site, opened: Open) -> None:
    org = site.customer("두레소프트", MONTH)
    first, second = (opened(site.person(name, operator=True)) for name in ("김운영", "최운영"))
    place = f"/finance/months/{MONTH}/{org}"
    first.go(place)
    first.click("button", "초안 만들기")
    finished(first)
    first.go(place)
    assert "내가 만든 초안입니다" in first.text() and "검토 완료로" not in first.text()
    for name in ("검토 완료", "확정", "발행"):
        second.go(place)
        second.click("button", name)
        if name != "검토 완료":
            second.page.get_by_text("되돌릴 수 없").first.wait_for()
            second.click("button", name)
        finished(second)
    second.go(place)
    assert "WR-202601-" in second.text() and "발행" in second.page.inner_text(".tag.large")
    shown = [
        int(text.replace(",", "").rstrip("원")) for text in second.page.locator(".figure .amount").all_inner_texts()
    ]
    supply, vat, total, due = shown
    assert vat == supply // 10 and total == due == supply + vat
    second.click("button", "청구서 (PDF)")
    finished(second)
    with second.page.expect_download() as coming:
        second.click("link", "파일 내려받기")
    assert Path(coming.value.path()).read_bytes().startswith(b"%PDF-")
    second.go(place)
    second.page.get_by_label("입금 참조").fill("국민 1/31")
    second.click("button", "입금 기록")
    finished(second)
    second.go(place)
    assert second.page.inner_text(".tag.large") == "입금 완료"


def try_it(visitor: Visitor) -> None:
    """A test call reaches the deployment although it is drained; what it costs is said."""
    visitor.page.get_by_role("button", name="시험 호출").first.click()
    visitor.page.get_by_text("정상 응답", exact=True).wait_for()
    cost = visitor.page.locator("dl.facts > div", has_text="요금").locator("dd").inner_text()
    assert Decimal(cost.rstrip("원")) > 0
    visitor.go("/operator/deployments?q=gpt-4o-mini")


def test_an_operator_drains_a_deployment_and_the_model_is_no_longer_sold(site: Site, opened: Open) -> None:
    operator: Person = site.person("박운영", operator=True)
    visitor = opened(operator)
    visitor.go("/operator/deployments?q=gpt-4o-mini")
    key = site.key(site.organisation("drained", won=10_000))
    try:
        with visitor.page.expect_navigation():  # the word for drained stands in a heading, too
            visitor.page.get_by_role("button", name="비우기").click()
        try_it(visitor)
        until(lambda: status(site, key) == HTTPStatus.SERVICE_UNAVAILABLE, "every process knows the new weight")
        assert status(site, key) == HTTPStatus.SERVICE_UNAVAILABLE
    finally:
        visitor.go("/operator/deployments?q=gpt-4o-mini")
        visitor.page.get_by_role("button", name="원래 값").click()
        visitor.page.get_by_text("정상", exact=True).first.wait_for()
