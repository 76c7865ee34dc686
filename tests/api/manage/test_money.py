"""Limits by role, top-ups once per reference, usage by pages and sums, an end user's records."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from api.admission import Admission
from gateway.accounts.subjects import user_hash
from gateway.credit import upkeep
from gateway.wire import ids
from tests.api.manage.conftest import Office, Someone

pytestmark = pytest.mark.anyio


def lately() -> str:
    """Since when: a month may have begun since the calls that a test has just made."""
    return (dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)).isoformat()


def used(office: Office, who: Someone, number: int, *, at_ms: int = 0, **fields: Any) -> str:
    """One settled call of somebody's key, some seconds ago unless it is said when; its id."""
    at_ms = at_ms or int(dt.datetime.now(dt.UTC).timestamp() * 1000) - 60_000 + number
    job = f"{at_ms:012x}7" + "".join(ids.random_parts())
    values: dict[str, Any] = {
        "month": ids.month_of(at_ms), "job": job, "org": who.org, "key": who.key_id, "prepaid": True,
        "asked": "openai/gpt-4o", "model": "openai/gpt-4o", "provider": "openai", "deployment": "d", "surface": "bizrouter",
        "endpoint": "chat", "stream": False, "outcome": "complete", "estimated": False, "prompt_tokens": 1_000,
        "completion_tokens": 500, "won": Decimal("10.125"), "micro": 10_125_000, "loss_won": 0, "parts": "[]",
        "attempts": "[]", "admitted_at": dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC), "title": None,
        "user_hash": None, **fields,
    }  # fmt: skip
    with office.engine.begin() as connection:
        connection.execute(text("SELECT ensure_usage_month(:month)"), {"month": values["month"]})
        connection.execute(
            text(f"INSERT INTO usage ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)})"), values
        )
    return ids.public(job)


async def test_an_owner_sets_what_belongs_to_the_organisation(office: Office) -> None:
    owner = office.someone(office.organisation())
    body = {"month_limit_krw": "500000", "rpm": 60, "concurrency": 5, "domestic_only": True, "no_training": True}
    changed = (await office.call(owner, "PATCH", "/organization", body)).json()
    assert {name: changed[name] for name in body} == body
    assert (await office.call(owner, "PATCH", "/organization", {"rpm": None})).json()["rpm"] is None
    for field, value in (("policy", "strict"), ("billing", "postpaid"), ("state", "suspended"), ("name", "새")):
        assert (await office.call(owner, "PATCH", "/organization", {field: value})).status_code == 403
    for role in ("member", "finance"):
        visit = await office.sign_in(office.someone(owner.org, role, key=False))
        assert (await visit.call("PATCH", "/organization", {"rpm": 1})).status_code == 403
        assert (await visit.call("GET", "/organization")).json()["month_limit_krw"] == "500000"
    assert (await office.call(owner, "PATCH", "/organization", {})).status_code == 400


async def test_tokens_per_minute_and_limits_by_model_are_set_for_organisation_and_key(office: Office) -> None:
    owner = office.someone(office.organisation())
    by_model = {"openai/gpt-4o": {"rpm": 5, "tpm": 1_000, "concurrency": None}}
    stored = {"openai/gpt-4o": {"rpm": 5, "tpm": 1_000}}
    body = {"tpm": 50_000, "model_limits": by_model}
    changed = (await office.call(owner, "PATCH", "/organization", body)).json()
    assert (changed["tpm"], changed["model_limits"]) == (50_000, stored)
    made = (await office.call(owner, "POST", "/keys", {"name": "k", **body})).json()["details"]
    assert (made["tpm"], made["model_limits"]) == (50_000, stored)
    cleared = await office.call(owner, "PATCH", f"/keys/{made['id']}", {"tpm": None, "model_limits": {}})
    assert (cleared.json()["tpm"], cleared.json()["model_limits"]) == (None, {})
    wrong = await office.call(owner, "PATCH", "/organization", {"model_limits": {"nobody/nothing": {"rpm": 1}}})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "model_limits")


async def test_an_idempotency_key_gives_the_first_top_up_again(office: Office) -> None:
    org = office.organisation()
    operator = await office.sign_in(office.someone(org, "operator", key=False), organization=org)
    headers = {"Idempotency-Key": "t-1", "Cookie": f"wonrouter_session={operator.token}", "X-CSRF-Token": operator.csrf}

    async def ask(amount: int, reference: str) -> Any:
        body = {"amount_krw": amount, "reference": reference}
        answer = await office.client.post("/api/v1/manage/topups", json=body, headers=headers)
        office.client.cookies.clear()
        return answer

    first, again = await ask(1_000, "R-1"), await ask(1_000, "R-1")
    assert first.status_code == 200
    assert again.json() == first.json()
    other = await ask(2_000, "R-2")
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")
    with office.engine.connect() as connection:
        count = connection.execute(text("SELECT count(*) FROM topup_request WHERE org = :org"), {"org": org})
        assert count.scalar_one() == 1


async def test_a_postpaid_organisations_line_of_credit_is_the_operators(office: Office) -> None:
    org = office.organisation(billing="postpaid", month_limit_won=Decimal(1_000))
    owner, operator = office.someone(org), office.someone(org, "operator", key=False)
    assert (await office.call(owner, "PATCH", "/organization", {"month_limit_krw": None})).status_code == 403
    visit = await office.sign_in(operator, organization=org)
    body = {"month_limit_krw": 9_000, "policy": "strict"}
    assert (await visit.call("PATCH", "/organization", body)).json()["month_limit_krw"] == "9000"


async def test_a_key_of_an_operators_runs_no_installation(office: Office) -> None:
    operator = office.someone(office.organisation(), "operator")
    assert (await office.call(operator, "GET", "/session")).json()["roles"] == ["owner"]
    topup = {"amount_krw": 1, "reference": "R"}
    assert (await office.call(operator, "POST", "/topups", topup)).status_code == 403
    assert (await office.call(operator, "GET", "/organizations")).status_code == 403


async def test_a_top_up_is_asked_for_once_per_reference_by_the_operator_alone(office: Office) -> None:
    org = office.organisation()
    owner, operator = office.someone(org), office.someone(org, "operator", key=False)
    body = {"amount_krw": 50_000, "reference": "2026-001", "method": "transfer"}
    assert (await office.call(owner, "POST", "/topups", body)).status_code == 403
    visit = await office.sign_in(operator, organization=org)
    first, second = [(await visit.call("POST", "/topups", body)).json() for _ in range(2)]
    assert first == second and first["state"] == "pending"
    assert (await visit.call("POST", "/topups", body | {"amount_krw": 1})).status_code == 409
    assert (await visit.call("POST", "/topups", body | {"amount_krw": 0, "reference": "R2"})).status_code == 400
    promotion = {"amount_krw": 1, "reference": "R3", "method": "promotion", "expires_at": "2099-01-01T00:00:00Z"}
    assert (await visit.call("POST", "/topups", promotion)).status_code == 200
    page = (await office.call(owner, "GET", "/topups", limit=1)).json()
    rest = (await office.call(owner, "GET", "/topups", limit=1, after=page["next"])).json()
    assert [entry["reference"] for entry in page["data"] + rest["data"]] == ["R3", "2026-001"]
    assert rest["next"] is None


async def test_an_operator_makes_an_organisation(office: Office) -> None:
    visit = await office.sign_in(office.someone(office.organisation(), "operator", key=False))
    made = await visit.call("POST", "/organizations", {"name": "새 회사", "rpm": 5})
    assert made.status_code == 201 and made.json()["rpm"] == 5
    seen = (await visit.call("GET", "/organizations", limit=200)).json()["data"]
    assert made.json() in seen


async def test_credit_is_the_windows(office: Office) -> None:
    owner = office.someone(office.organisation())
    upkeep.rebuild_begin(office.redis)
    upkeep.rebuild_end(office.redis, [], "1")
    office.redis.hset(f"wr:o:{owner.org}", mapping={"v": 1, "bal": 1_500_000, "held": 500_000})
    credit = (await office.call(owner, "GET", "/credit")).json()
    assert (credit["balance_krw"], credit["held_krw"], credit["available_krw"]) == ("1.5", "0.5", "1")


async def test_usage_is_listed_newest_first_and_each_reaches_their_own(office: Office) -> None:
    org = office.organisation()
    owner, member = office.someone(org), office.someone(org, "member")
    theirs = [used(office, owner, number, title="앱") for number in range(2)]
    mine = used(office, member, 2)
    used(office, office.someone(office.organisation()), 3)
    since = lately()
    page = (await office.call(owner, "GET", "/usage", limit=2, since=since)).json()
    rest = (await office.call(owner, "GET", "/usage", limit=2, since=since, after=page["next"])).json()
    assert [call["id"] for call in page["data"] + rest["data"]] == [mine, *reversed(theirs)]
    assert page["data"][0]["cost_krw"] == "10.125" and rest["next"] is None
    assert [call["id"] for call in (await office.call(member, "GET", "/usage", since=since)).json()["data"]] == [mine]
    wanted = {"application": "앱", "key": owner.key_id, "since": since}
    assert len((await office.call(owner, "GET", "/usage", **wanted)).json()["data"]) == 2
    looks = (await office.call(owner, "GET", "/access-log")).json()["data"]
    assert [(look["action"], look["records"]) for look in looks] == [
        ("usage.list", 2), ("usage.list", 1), ("usage.list", 1), ("usage.list", 2),
    ]  # fmt: skip
    assert {look["address"] for look in looks} == {"127.0.0.1"}


async def test_usage_is_summed_by_what_is_asked_for(office: Office) -> None:
    org = office.organisation()
    owner, member = office.someone(org), office.someone(org, "member")
    used(office, owner, 0, title="앱")
    used(office, owner, 1, model="openai/gpt-4o-mini", won=Decimal("0.5"), micro=500_000)
    used(office, member, 2, outcome="voided", won=0, micro=0)

    async def groups(who: Someone, by: str, **query: Any) -> dict[str, str]:
        answer = await office.call(who, "GET", "/usage/summary", by=by, **{"since": lately(), **query})
        return {group["group"]: group["cost_krw"] for group in answer.json()["data"]}

    assert await groups(owner, "model") == {"openai/gpt-4o": "10.125", "openai/gpt-4o-mini": "0.5"}
    assert await groups(owner, "application") == {"앱": "10.125", None: "0.5"}
    assert await groups(owner, "key") == {owner.key_id: "10.625"}
    assert sum(map(Decimal, (await groups(owner, "day")).values())) == Decimal("10.625")
    assert await groups(member, "model") == {}
    assert await groups(owner, "model", until="2020-01-01T00:00:00Z", since="2019-12-31T00:00:00Z") == {}
    for query in ({"since": "2020-01-01T00:00:00Z"}, {"since": "2026-01-01T00:00:00"}, {"key": "k"}, {"by": "hour"}):
        assert (await office.call(owner, "GET", "/usage/summary", **query)).status_code == 400


async def test_usage_is_this_months_in_seoul_unless_it_is_said_since_when(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = int(dt.datetime(2026, 3, 1, 0, 0, 30, tzinfo=ids.SEOUL).timestamp() * 1000)
    monkeypatch.setattr(Admission, "now_ms", lambda _: now_ms)
    owner = office.someone(office.organisation())
    used(office, owner, 0, at_ms=now_ms - 31_000)
    call = used(office, owner, 1, at_ms=now_ms - 1_000)
    assert [each["id"] for each in (await office.call(owner, "GET", "/usage")).json()["data"]] == [call]
    [day] = (await office.call(owner, "GET", "/usage/summary")).json()["data"]
    assert (day["group"], day["calls"]) == ("2026-03-01", 1)


async def test_an_end_users_records_are_shown_and_erased_with_proof(office: Office) -> None:
    owner = office.someone(office.organisation())
    stranger = office.someone(office.organisation())
    whom = user_hash(office.settings.hash_key, owner.org, "kim@example.kr")
    mine = [used(office, owner, number, user_hash=whom) for number in range(2)]
    used(office, owner, 3, user_hash="another")
    used(office, stranger, 4, user_hash=whom)
    asked = {"user": "kim@example.kr", "reason": "정보주체의 열람 요구"}
    shown = (await office.call(owner, "POST", "/subjects/export", asked)).json()
    assert shown["user_hash"] == whom and [call["id"] for call in shown["data"]] == mine[::-1]
    assert (await office.call(stranger, "POST", "/subjects/export", asked)).json()["data"] == []
    assert (await office.call(owner, "POST", "/subjects/export", asked | {"reason": " "})).status_code == 400
    erased = (await office.call(owner, "POST", "/subjects/erasure", asked)).json()
    assert (erased["user_hash"], erased["records"]) == (whom, 2)
    calls = sorted(str(uuid.UUID(call.removeprefix(ids.PUBLIC_PREFIX))) for call in mine)
    assert erased["digest"] == hashlib.sha256("\n".join(calls).encode()).hexdigest()
    [kept] = (await office.call(owner, "GET", "/privacy/deletions")).json()["data"]
    assert (kept["id"], kept["subject"], kept["records"], kept["actor"]) == (
        erased["proof"], whom, 2, f"key:{owner.key_id}",
    )  # fmt: skip
    assert (await office.call(stranger, "GET", "/privacy/deletions")).json()["data"] == []
    assert (await office.call(owner, "POST", "/subjects/export", asked)).json()["data"] == []
    with office.engine.connect() as connection:
        left = connection.execute(text("SELECT org FROM usage WHERE user_hash = :h"), {"h": whom}).scalars().all()
        stored = repr(connection.execute(text("SELECT * FROM access_log")).all())
    assert left == [uuid.UUID(stranger.org)]
    assert "kim@example.kr" not in stored and "열람 요구" in stored
    [proof] = (await office.call(owner, "GET", "/audit-log", action="subject.erase")).json()["data"]
    assert (proof["subject"], proof["details"]) == (whom, {"records": 2, "proof": erased["proof"]})
