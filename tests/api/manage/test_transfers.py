"""Where data goes, how long it stays, and what an incident touched."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from typing import Any

import pytest
from sqlalchemy import text

from tests.api.manage.conftest import Office
from tests.api.manage.test_money import used

pytestmark = pytest.mark.anyio

PERIOD = {"since": "2026-01-01T00:00:00+09:00", "until": "2026-02-01T00:00:00+09:00", "reason": "유출 신고"}


def attempts(*tried: tuple[str, str]) -> str:
    return json.dumps(
        [
            {"provider": p, "model": "m", "deployment": "d", "reason": r, "started_ms": 1, "client_request_id": "c"}
            for p, r in tried
        ]
    )


def lately(**more: Any) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC)
    return PERIOD | {"since": (now - dt.timedelta(hours=1)).isoformat(), "until": now.isoformat(), **more}


def add_deployments(office: Office) -> None:
    with office.engine.begin() as connection:
        connection.execute(text("DELETE FROM deployment"))
        for n, (provider, domestic) in enumerate((("openai", False), ("upstage", True), ("own-rack", True))):
            connection.execute(
                text(
                    "INSERT INTO deployment (id, source, position, model, provider, base_url, upstream_model, api_key, "
                    "weight, region, domestic, no_training, options) VALUES (:id, 'file', :n, 'm/x', :provider, 'u', 'x', "
                    "'', 1, 'kr', :domestic, :domestic, '{}')"
                ),
                {"id": f"{provider}-1", "n": n, "provider": provider, "domestic": domestic},
            )


async def test_everybody_sees_who_receives_what_they_send(office: Office) -> None:
    owner = office.someone(office.organisation())
    member = office.someone(owner.org, "member")
    add_deployments(office)
    found = {r["provider"]: r for r in (await office.call(member, "GET", "/privacy/providers")).json()["data"]}
    assert set(found) == {"openai", "upstage", "own-rack"}
    assert (found["openai"]["country"], found["openai"]["permitted"], found["openai"]["verified"]) == (
        "US",
        True,
        False,
    )
    assert (found["upstage"]["country"], found["upstage"]["domestic"]) == ("KR", True)
    assert "ask the operator" in found["own-rack"]["legal_entity"]
    await office.call(owner, "PATCH", "/organization", {"domestic_only": True})
    found = {r["provider"]: r for r in (await office.call(member, "GET", "/privacy/providers")).json()["data"]}
    assert [found[name]["permitted"] for name in ("openai", "upstage")] == [False, True]
    file = await office.call(owner, "GET", "/privacy/providers.csv")
    assert file.headers["content-type"].startswith("text/csv") and file.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(file.content.decode("utf-8-sig"))))
    assert (rows[0][0], rows[1][0], [row[0] for row in rows[2:]]) == (
        "제공사", "Provider", ["openai", "own-rack", "upstage"],
    )  # fmt: skip
    looks = (await office.call(owner, "GET", "/access-log")).json()["data"]
    assert [(look["action"], look["records"]) for look in looks] == [("providers.export", 3)]


async def test_retention_is_shown_to_all_and_set_by_the_operator(office: Office) -> None:
    owner = office.someone(office.organisation())
    operator = office.someone(owner.org, "operator", key=False)
    listed = {each["name"]: each for each in (await office.call(owner, "GET", "/privacy/retention")).json()["data"]}
    assert (listed["access_log"]["days"], listed["access_log"]["least"]) == (1095, 730)
    assert (listed["usage"]["days"], listed["usage"]["least"]) == (3653, 1827)
    body = {"name": "access_log", "days": 800}
    assert (await office.call(owner, "PUT", "/privacy/retention", body)).status_code == 403
    visit = await office.sign_in(operator, organization=owner.org)
    assert (await visit.call("PUT", "/privacy/retention", body)).json()["days"] == 800
    assert (await visit.call("PUT", "/privacy/retention", body | {"days": 729})).status_code == 400


async def test_an_incident_names_providers_countries_and_end_users_and_no_contents(office: Office) -> None:
    owner, stranger = office.someone(office.organisation()), office.someone(office.organisation())
    other = office.someone(owner.org)
    mine = [
        used(office, owner, 0, user_hash="a", attempts=attempts(("openai", "server"), ("anthropic", "ok"))),
        used(office, owner, 1, user_hash="b", attempts=attempts(("openai", "ok"))),
        used(office, other, 2, user_hash="a", attempts=attempts(("deepseek", "connect"), ("upstage", "ok"))),
    ]
    used(office, stranger, 3, attempts=attempts(("xai", "ok")))
    shown = (await office.call(owner, "POST", "/privacy/incidents/export", lately())).json()
    assert (shown["summary"]["calls"], shown["summary"]["keys"], shown["summary"]["end_users"]) == (3, 2, 2)
    assert [(r["provider"], r["country"], r["calls"], r["end_users"]) for r in shown["summary"]["receivers"]] == [
        ("anthropic", "US", 1, 1), ("openai", "US", 2, 2), ("upstage", "KR", 1, 1),
    ]  # fmt: skip
    assert [(t["id"], t["provider"], t["user_hash"]) for t in shown["data"]] == [
        (mine[0], "openai", "a"), (mine[0], "anthropic", "a"), (mine[1], "openai", "b"),
        (mine[2], "deepseek", "a"), (mine[2], "upstage", "a"),
    ]  # fmt: skip
    one = (await office.call(owner, "POST", "/privacy/incidents/export", lately(key=other.key_id))).json()
    assert one["summary"]["calls"] == 1 and one["next"] is None
    file = await office.call(owner, "POST", "/privacy/incidents/export.csv", lately())
    rows = list(csv.reader(io.StringIO(file.content.decode("utf-8-sig"))))
    assert len(rows) == 2 + 5 and "x-next" not in file.headers
    looks = (await office.call(owner, "GET", "/access-log")).json()["data"]
    assert [(look["action"], look["reason"]) for look in looks] == [("incident.export", "유출 신고")] * 3


@pytest.mark.parametrize(
    "change", [{"until": "2025-01-01T00:00:00+09:00"}, {"since": "2020-01-01T00:00:00+09:00"},
               {"since": "2026-01-01T00:00:00"}, {"reason": " "}, {"key": "x"}],
)  # fmt: skip
async def test_a_question_without_bounds_or_reason_is_refused(office: Office, change: dict[str, str]) -> None:
    owner = office.someone(office.organisation())
    asked = await office.call(owner, "POST", "/privacy/incidents/export", PERIOD | change)
    assert asked.status_code == 400


async def test_an_incident_is_paged(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.accounts.incidents.page.__kwdefaults__", {"after": None, "most": 2, "path": ""})
    owner = office.someone(office.organisation())
    mine = [used(office, owner, n, attempts=attempts(("openai", "ok"))) for n in range(3)]
    first = (await office.call(owner, "POST", "/privacy/incidents/export", lately())).json()
    rest = (await office.call(owner, "POST", "/privacy/incidents/export", lately(after=first["next"]))).json()
    assert [t["id"] for t in first["data"] + rest["data"]] == mine and rest["next"] is None
