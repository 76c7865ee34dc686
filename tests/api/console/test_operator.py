"""The operator's and finance's pages: who may see them, what they show, and that each act becomes a task."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import text

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
