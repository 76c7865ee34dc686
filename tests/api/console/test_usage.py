"""The dashboard and receipts: exact amounts, each sees what is theirs, pages that go on."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from sqlalchemy import event

from api.console.dashboard import CALLS
from tests.api.console.conftest import Browser, said, used
from tests.api.manage.conftest import Office

pytestmark = pytest.mark.anyio


def receipts(page: str) -> list[str]:
    return re.findall(r'href="/console/calls/([^"]+)"', page)


async def test_a_call_appears_with_its_exact_won_and_a_receipt(office: Office, browser: Browser) -> None:
    owner = office.someone(office.organisation())
    office.redis.hset(f"wr:o:{owner.org}", mapping={"v": 1, "bal": 99_989_874_075, "held": 500_000})
    await browser.sign_in(owner)
    assert "아직 호출이 없습니다" in (await browser.get("/console")).text
    call = used(office, owner, title="챗봇<b>", estimated=True, ago_s=1)
    page = (await browser.get("/console")).text
    assert receipts(page) == [call]
    assert "10.1259255원" in said(page) and "챗봇&lt;b&gt;" in page and "추정" in page and "1,000 → 500" in page
    assert 'title="99,989.374075원"' in page and "99,989원</p>" in page
    receipt = await browser.get(f"/console/calls/{call}")
    assert receipt.status_code == 200
    for shown in ("10.1259255원", "1,350.1234", "$2.50", "$10.00", "1,000", "500", "up-1", "900 ms", "gpt-4o"):
        assert shown in receipt.text
    assert "₩10.1259255" in (await browser.get(f"/console/calls/{call}", lang="en")).text
    looks = (await office.call(owner, "GET", "/access-log")).json()["data"]
    assert {look["action"] for look in looks} == {"usage.list", "usage.receipt"}


async def test_nobody_sees_another_organisations_call_and_members_see_their_own(
    office: Office, browser: Browser
) -> None:
    org = office.organisation()
    owner, member = office.someone(org), office.someone(org, "member")
    foreign = used(office, office.someone(office.organisation()))
    theirs, mine = used(office, owner, won=Decimal("7.5")), used(office, member, ago_s=30)
    long_ago = used(office, member, ago_s=40 * 86_400)
    await browser.sign_in(member)
    page = (await browser.get("/console")).text
    assert receipts(page) == [mine, long_ago] and "7.5원" not in said(page)
    for call, status in ((mine, 200), (theirs, 404), (foreign, 404), ("chatcmpl-none", 404)):
        assert (await browser.get(f"/console/calls/{call}")).status_code == status
    await browser.post("/console/sign-out", {}, page="/console")
    await browser.sign_in(office.someone(org, "finance", key=False))
    assert receipts((await browser.get("/console")).text) == [mine, theirs, long_ago]
    assert (await browser.get(f"/console/calls/{theirs}")).status_code == 200
    assert (await browser.get(f"/console/calls/{foreign}")).status_code == 404
    assert (await browser.get("/console/keys")).status_code == 403


@pytest.mark.parametrize("role", ["owner", "member"])
async def test_pages_hold_every_call_once_newest_first(office: Office, browser: Browser, role: str) -> None:
    org = office.organisation()
    who = office.someone(org, "owner" if role == "owner" else "member")
    made = [used(office, who, ago_s=60 + 600 * number) for number in range(CALLS + 5)]
    if role == "member":
        used(office, office.someone(org))
    await browser.sign_in(who)
    first = (await browser.get("/console")).text
    assert receipts(first) == made[:CALLS]
    older = re.search(r'href="(/console\?after=[^"]+)"', first)
    assert older is not None
    rest = await browser.get(older[1])
    assert receipts(rest.text) == made[CALLS:] and "after=" not in rest.text.split('class="paging"')[1]
    assert (await browser.get("/console", after="x")).status_code == 400


async def test_no_page_reads_usage_without_its_month_and_a_limit(office: Office, browser: Browser) -> None:
    owner = office.someone(office.organisation())
    used(office, owner)
    await browser.sign_in(owner)
    asked: list[str] = []
    front = browser.client
    from api.manage import desk

    original = desk.Desk.read

    async def watched(self: desk.Desk, work: object) -> object:
        def noted(connection: object) -> object:
            event.listen(connection, "before_cursor_execute", lambda *a: asked.append(a[2]))
            return work(connection)  # type: ignore[operator]

        return await original(self, noted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk.Desk, "read", watched)
        assert (await front.get("/console")).status_code == 200
    of_usage = [statement for statement in asked if "FROM usage " in statement or "FROM usage\n" in statement]
    assert of_usage, asked
    for statement in of_usage:
        assert "usage.month IN" in statement and "LIMIT" in statement and "usage.org =" in statement
