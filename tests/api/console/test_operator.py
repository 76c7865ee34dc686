"""The operator's and finance's pages: who may see them, what they show, and that each act becomes a task."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from api.console import wording
from api.console.operator import dead_letters, organizations, probing
from gateway.accounts import own_calls
from gateway.accounts.change import changing
from gateway.catalogue.packaged import builtin
from gateway.wire import keys
from gateway.wire.frame import Final
from tests.api.console.conftest import Browser, used
from tests.api.manage.conftest import Office

pytestmark = pytest.mark.anyio

FINANCE = ["/finance", "/finance/exports", "/finance/payments"]
INSTALLATION = [
    "/finance/statements", "/finance/checks", "/operator", "/operator/state", "/operator/deployments",
    "/operator/prices", "/operator/organizations", "/operator/dead-letters",
]  # fmt: skip
ACTS: list[tuple[str, dict[str, str]]] = [
    ("/finance/months/202601/step", {"step": "draft"}),
    ("/finance/checks", {}),
    ("/operator/rates", {"date": "2026-01-05", "rate": "1,400.60"}),
    ("/operator/prices", {"model": "openai/gpt-4o", "input_usd": "1", "output_usd": "2"}),
    ("/operator/dead-letters/replay", {}),
    ("/operator/deployments/nobody/weight", {"weight": "0"}),
    ("/operator/organizations", {"name": "새 회사", "billing": "prepaid"}),
]


def deployed(office: Office, name: str = "openai-1", weight: int = 1) -> None:
    with office.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO deployment (id, source, position, model, provider, base_url, upstream_model, api_key, weight, "
                "domestic, no_training, options) VALUES (:name, 'file', 0, 'openai/gpt-4o', 'openai', 'https://up.example', "
                "'gpt-4o', '', :weight, false, true, '{}') ON CONFLICT DO NOTHING"
            ),
            {"name": name, "weight": weight},
        )


def tasks(office: Office) -> list[Any]:
    with office.engine.connect() as connection:
        return list(connection.execute(text("SELECT kind, parameters, org FROM task ORDER BY id")))


async def test_only_the_operator_sees_the_installation_and_finance_sees_its_own_months(
    office: Office, browser: Browser
) -> None:
    org = office.organisation()
    deployed(office)
    for role, finance, installation in (
        ("member", 403, 403), ("finance", 200, 403), ("owner", 200, 403), ("operator", 200, 200),
    ):  # fmt: skip
        await browser.sign_in(office.someone(org, role, key=False))  # type: ignore[arg-type]
        for pages, status in ((FINANCE, finance), (INSTALLATION, installation)):
            for path in pages:
                for lang in ("ko", "en"):
                    answer = await browser.get(f"/console{path}", lang=lang)
                    assert answer.status_code == status, (role, path, answer.text)
                    assert len(answer.content) < 100_000
        if role != "operator":
            for path, fields in ACTS:
                page = "/console/finance" if finance == 200 else "/console/keys"
                answer = await browser.post(f"/console{path}", fields, page=page)
                assert answer.status_code == 403, (role, path)
        await browser.post("/console/sign-out", {}, page="/console/keys" if role == "member" else "/console/finance")
    assert tasks(office) == []


async def test_each_act_becomes_a_task_whose_page_shows_how_it_goes(office: Office, browser: Browser) -> None:
    await browser.sign_in(office.someone(office.organisation(), "operator", key=False))
    for path, fields in ACTS[:5]:
        answer = await browser.post(f"/console{path}", fields, page="/console/operator")
        assert answer.status_code == 303, (path, answer.text)
        place = answer.headers["location"]
        assert re.fullmatch(r"/console/tasks/[0-9a-f-]{36}\?back=/console/(finance|operator)\S*", place)
        shown = await browser.get(place)
        assert shown.status_code == 200 and "대기 중" in shown.text and 'http-equiv="refresh"' in shown.text
        state = await browser.get(place.partition("?")[0] + "/state")
        assert state.json() == {"state": "waiting/0"}
    assert [row.kind for row in tasks(office)] == [
        "close.draft", "reconcile", "fx.set", "price.set", "dead_letters.replay",
    ]  # fmt: skip


async def test_finalising_is_asked_about_once_more(office: Office, browser: Browser) -> None:
    await browser.sign_in(office.someone(office.organisation(), "operator", key=False))
    before = len(tasks(office))
    fields = {"step": "finalise"}
    asked = await browser.post("/console/finance/months/202601/step", fields, page="/console/operator")
    assert asked.status_code in (200, 201) and "되돌릴 수 없고" in asked.text and len(tasks(office)) == before
    sure = await browser.post("/console/finance/months/202601/step", fields | {"sure": "1"}, page="/console/operator")
    assert sure.status_code == 303 and tasks(office)[-1].kind == "close.finalise"


async def test_finance_sees_tasks_and_documents_of_its_own_organisation_only(office: Office, browser: Browser) -> None:
    mine, theirs = office.organisation("우리"), office.organisation("남의 회사")
    finance, other = office.someone(mine, "finance", key=False), office.someone(theirs, "finance", key=False)
    await browser.sign_in(other)
    made = await browser.post(
        "/console/finance/exports", {"what": "usage.csv", "month": "202601"}, page="/console/finance"
    )
    foreign = made.headers["location"]
    assert (await browser.get(foreign)).status_code == 200
    await browser.post("/console/sign-out", {}, page="/console/finance")
    await browser.sign_in(finance)
    for path in (foreign, foreign.partition("?")[0] + "/file", f"/console/finance/months/202601/{theirs}"):
        assert (await browser.get(path)).status_code == 404, path
    assert "남의 회사" not in (await browser.get("/console/finance/months/202601")).text
    asked = {"what": "usage.csv", "month": "202601", "org": theirs}
    await browser.post("/console/finance/exports", asked, page="/console/finance")
    assert str(tasks(office)[-1].org) == mine
    refused = {"what": "journal.csv", "month": "202601"}
    answer = await browser.post("/console/finance/exports", refused, page="/console/finance")
    assert answer.status_code == 403


async def test_a_weight_set_by_hand_holds_for_everybody_and_can_be_taken_back(office: Office, browser: Browser) -> None:
    from gateway.deployments import store

    deployed(office)
    await browser.sign_in(office.someone(office.organisation(), "operator", key=False))
    place = "/console/operator/deployments"
    answer = await browser.post(f"{place}/openai-1/weight", {"weight": "0"}, page=place)
    assert answer.status_code == 303 and answer.headers["location"] == place
    page = (await browser.get(place)).text
    assert "비움" in page and "원래 값(1)으로" in page
    assert "openai/gpt-4o" not in store.available_models(office.engine, sandbox=False)
    await browser.post(f"{place}/openai-1/weight", {"weight": "7"}, page=place)
    assert 'value="7"' in (await browser.get(place)).text
    await browser.post(f"{place}/openai-1/weight", {"weight": ""}, page=place)
    assert "openai/gpt-4o" in store.available_models(office.engine, sandbox=False)
    assert "원래 값" not in (await browser.get(place)).text
    for wrong in ("-1", "1001", "x"):
        assert (await browser.post(f"{place}/openai-1/weight", {"weight": wrong}, page=place)).status_code == 400
    with office.engine.connect() as connection:
        noted = connection.execute(text("SELECT details FROM audit_log WHERE action = 'deployment.weight' ORDER BY id"))
        assert [row.details["weight"] for row in noted] == [0, 7, None]


async def test_an_organisation_is_made_changed_and_topped_up(office: Office, browser: Browser) -> None:
    await browser.sign_in(office.someone(office.organisation(), "operator", key=False))
    place = "/console/operator/organizations"
    made = await browser.post(place, {"name": "온새미로", "billing": "postpaid"}, page=place)
    assert made.status_code == 303
    one = made.headers["location"]
    terms = {"name": "온새미로", "billing": "postpaid", "policy": "strict", "state": "active", "rpm": "60"}
    changed = await browser.post(one, terms | {"month_limit_krw": "1,000,000", "concurrency": ""}, page=one)
    assert changed.status_code == 303
    assert 'value="1000000"' in (await browser.get(one)).text
    assert (await browser.post(one, terms | {"rpm": "many"}, page=one)).status_code == 400
    asked = await browser.post(
        f"{one}/topups", {"amount": "50,000", "method": "transfer", "reference": "입금-1"}, page=one
    )
    assert asked.status_code == 303 and "입금-1" in (await browser.get(one)).text
    assert "온새미로" in (await browser.get(place, q="새미")).text
    assert "온새미로" not in (await browser.get(place, q="다른")).text


async def test_dead_letters_are_shown_and_discarded_with_a_reason(office: Office, browser: Browser) -> None:
    await browser.sign_in(office.someone(office.organisation(), "operator", key=False))
    place = "/console/operator/dead-letters"
    assert "정산하지 못한 기록이 없습니다" in (await browser.get(place)).text
    office.redis.xadd("wr:dead", {"job": "0" * 32, "org": "x", "micro": "1250000", "why": "no such organisation"})
    page = (await browser.get(place)).text
    assert "no such organisation" in page and "1.25원" in page
    entry = re.search(rf'href="{place}/(\d+-\d+)"', page)
    assert entry is not None
    confirmation = await browser.get(f"{place}/{entry[1]}")
    assert confirmation.status_code == 200 and "되돌릴 수 없습니다" in confirmation.text
    done = await browser.post(f"{place}/discard", {"entry": entry[1], "reason": "시험"}, page=place)
    assert done.status_code == 303
    assert tasks(office)[-1].parameters == {"entry": entry[1], "reason": "시험"}
    for wrong in ("1-2", "x", "+"):
        assert (await browser.get(f"{place}/{wrong}")).status_code == 404


async def test_an_open_page_asks_cheaply_and_its_renewals_are_one_line_in_the_access_log(
    office: Office, browser: Browser
) -> None:
    owner = office.someone(office.organisation())
    await browser.sign_in(owner)
    page = (await browser.get("/console")).text
    state = re.search(r'id="live" data-state="([^"]+)"', page)
    assert state is not None
    assert (await browser.get("/console/live")).json() == {"state": state[1]}
    used(office, owner)
    assert (await browser.get("/console/live")).json() != {"state": state[1]}
    for _ in range(3):
        renewed = await browser.client.get("/console", headers={"x-console-live": "1"})
        assert renewed.status_code == 200
    with office.engine.connect() as connection:
        count = connection.execute(text("SELECT count(*) FROM access_log WHERE actor = :who"), {"who": owner.id})
        assert count.scalar_one() == 1


async def test_organisations_and_dead_letters_come_a_page_at_a_time(
    office: Office, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(organizations, "ROWS", 2)
    monkeypatch.setattr(dead_letters, "SHOWN", 2)
    await browser.sign_in(office.someone(office.organisation("쪽 바깥"), "operator", key=False))
    for name in ("쪽 다", "쪽 가", "쪽 나"):
        office.organisation(name)
    entries = [f"{number}-0" for number in (1, 2, 3)]
    for entry in entries:
        office.redis.execute_command("XADD", keys.DEAD, entry, "job", "j", "org", "o", "micro", "1", "why", "because")
    first = (await browser.get("/console/operator/organizations", q="쪽")).text
    names = re.compile(r"<b>(쪽 \S+)</b>")
    assert names.findall(first) == ["쪽 가", "쪽 나"]
    second = (await browser.get(_next_page(first))).text
    assert names.findall(second) == ["쪽 다", "쪽 바깥"] and NEXT.search(second) is None
    first = (await browser.get("/console/operator/dead-letters")).text
    assert f'<time title="{entries[1]}">' in first and entries[2] not in first
    second = (await browser.get(_next_page(first))).text
    assert f'title="{entries[2]}"' in second and f'title="{entries[1]}"' not in second
    assert (await browser.get("/console/operator/dead-letters", after="-")).status_code == 400


NEXT = re.compile(r'class="button second" href="([^"]*after=[^"]*)"')


def _next_page(page: str) -> str:
    found = NEXT.search(page)
    assert found is not None, page
    return found[1].replace("&amp;", "&")


async def test_why_a_task_failed_is_said_in_the_readers_language(office: Office, browser: Browser) -> None:
    await browser.sign_in(office.someone(office.organisation(), "operator", key=False))
    asked = await browser.post("/console/finance/checks", {}, page="/console/operator")
    with office.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE task SET state = 'failed', finished_at = now(), error = 'Your role.', "
                "error_code = 'permission_denied' WHERE finished_at IS NULL"
            )
        )
    page = (await browser.get(asked.headers["location"])).text
    assert wording.say("ko", "task.error_permission_denied") in page and "Your role." not in page
    with office.engine.begin() as connection:
        connection.execute(text("UPDATE task SET error_code = 'refused', error = 'nothing has changed'"))
    assert "nothing has changed" in (await browser.get(asked.headers["location"])).text


def test_a_test_call_is_small_and_goes_to_the_one_deployment() -> None:
    model = builtin().models["openai/gpt-4o"]
    call = probing.ping(model, "gpt-4o-seoul")
    body = msgspec.json.decode(call.body)
    assert body["max_tokens"] == call.cap == 16 and body["messages"] == [{"role": "user", "content": "ping"}]
    assert call.models == [model] and msgspec.json.decode(call.routing) == ["gpt-4o-seoul"]


def test_what_a_test_call_brought_is_read_from_its_answer() -> None:
    good = b'{"choices": [{"message": {"content": "pong"}}], "usage": {"cost_krw": "0.0321"}}'
    read = probing.read(Final(200, good), 120)
    assert (read.status, read.said, read.cost, read.took_ms) == (200, "pong", Decimal("0.0321"), 120)
    bad = probing.read(Final(502, b'{"error": {"code": "provider_unavailable", "message": "gone"}}'), 9)
    assert (bad.status, bad.said, bad.code, bad.cost) == (502, "gone", "provider_unavailable", None)
    assert probing.read(Final(500, b"<html>"), 1).said == "<html>"


async def test_the_installations_own_organisation_is_made_once_with_credit_of_its_own(office: Office) -> None:
    operator = office.someone(office.organisation(), "operator", key=False)
    found: list[tuple[bytes, bool]] = []
    for _ in range(2):
        with changing(office.engine, office.redis, operator.id) as change:
            found.append(own_calls.ensure(change, operator.id))
    assert found[0][0] == found[1][0] and [new for _, new in found][1] is False
    with office.engine.connect() as connection:
        query = text("SELECT method, amount_won FROM topup_request WHERE org = :own")
        assert connection.execute(query, {"own": own_calls.OWN}).all() == [("promotion", own_calls.CREDIT_WON)]
