"""Keys over the management API: who reaches which, and what a change does at once."""

from __future__ import annotations

import httpx
import pytest
from redis import Redis
from sqlalchemy import Engine, text

from api import parts
from gateway.wire.news import News
from tests.api.conftest import until
from tests.api.manage.conftest import Office, opened

pytestmark = pytest.mark.anyio


async def test_a_key_is_made_shown_once_changed_rotated_and_deleted(office: Office) -> None:
    owner = office.someone(office.organisation())
    made = await office.call(
        owner, "POST", "/keys",
        {"name": "앱", "limit_krw": "5000.5", "rpm": 9, "concurrency": 2, "models": ["openai/gpt-4o"],
         "expires_at": "2099-01-01T00:00:00+09:00"},
    )  # fmt: skip
    assert made.status_code == 201
    secret, details = made.json()["key"], made.json()["details"]
    assert secret.startswith(f"sk-br-v1-{details['id']}_")
    assert (details["limit_krw"], details["rpm"], details["created_by"]) == ("5000.5", 9, owner.id)
    path = f"/keys/{details['id']}"
    shown = await office.call(owner, "GET", path)
    assert shown.json() == details and secret not in shown.text
    changed = await office.call(owner, "PATCH", path, {"name": "새 이름", "limit_krw": None})
    assert changed.json() == details | {"name": "새 이름", "limit_krw": None}
    assert (await office.call(secret, "GET", "/keys")).status_code == 200
    rotated = (await office.call(owner, "POST", f"{path}/rotation", {})).json()["key"]
    assert (await office.call(secret, "GET", "/keys")).status_code == 401
    assert (await office.call(rotated, "GET", "/keys")).status_code == 200
    assert (await office.call(owner, "PATCH", path, {"state": "deactivated"})).json()["state"] == "deactivated"
    assert (await office.call(rotated, "GET", "/keys")).status_code == 401
    assert (await office.call(owner, "PATCH", path, {"state": "active"})).json()["state"] == "active"
    assert (await office.call(rotated, "GET", "/keys")).status_code == 200
    assert (await office.call(owner, "DELETE", path)).json() == {"done": True}
    assert (await office.call(rotated, "GET", "/keys")).status_code == 401
    assert (await office.call(owner, "PATCH", path, {"name": "x"})).status_code == 409


async def test_the_old_secret_works_for_the_grace_that_was_asked_for(office: Office) -> None:
    owner = office.someone(office.organisation())
    made = (await office.call(owner, "POST", "/keys", {"name": "k"})).json()
    path = f"/keys/{made['details']['id']}/rotation"
    assert (await office.call(owner, "POST", path, {"grace_s": 60})).status_code == 201
    assert (await office.call(made["key"], "GET", "/keys")).status_code == 200
    assert (await office.call(owner, "POST", path, {"grace_s": 99_999_999})).status_code == 400


async def test_a_member_reaches_their_own_keys_only(office: Office) -> None:
    org = office.organisation()
    owner, member = office.someone(org), office.someone(org, "member")
    assert [key["id"] for key in (await office.call(member, "GET", "/keys")).json()["data"]] == [member.key_id]
    for method, path, body in (
        ("GET", "", None), ("PATCH", "", {"name": "mine now"}), ("DELETE", "", None), ("POST", "/rotation", {}),
    ):  # fmt: skip
        assert (await office.call(member, method, f"/keys/{owner.key_id}{path}", body)).status_code == 404
    assert (await office.call(owner, "PATCH", f"/keys/{member.key_id}", {"rpm": 1})).status_code == 200
    assert (await office.call(owner, "GET", "/keys")).status_code == 200


async def test_pages_hold_every_key_once(office: Office) -> None:
    owner = office.someone(office.organisation())
    made = {owner.key_id}
    for number in range(4):
        made.add((await office.call(owner, "POST", "/keys", {"name": f"k{number}"})).json()["details"]["id"])
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = (await office.call(owner, "GET", "/keys", limit=2, **after)).json()
        assert len(page["data"]) <= 2
        seen += [key["id"] for key in page["data"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert len(seen) == 5 and set(seen) == made
    assert (await office.call(owner, "GET", "/keys", limit=201)).status_code == 400
    assert (await office.call(owner, "GET", "/keys", after="?")).status_code == 400


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"), ({"name": ""}, "name"), ({"name": "k", "rpm": -1}, "rpm"), ({"name": "k", "limit_krw": "1e3"}, "limit_krw"),
        ({"name": "k", "models": ["nobody/none"]}, "models"), ({"name": "k", "limit_kwr": 1}, "limit_kwr"),
        ({"name": "k", "surface": "other"}, "surface"), ({"name": "k", "expires_at": "2030-01-01T00:00:00"}, "expires_at"),
    ],
)  # fmt: skip
async def test_a_wrong_field_is_named(office: Office, body: dict[str, object], param: str) -> None:
    answer = await office.call(office.someone(office.organisation()), "POST", "/keys", body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error" and param in (error.get("param"), *error["message"].split("`"))


async def test_every_change_of_a_key_is_in_the_audit_log_without_its_secret(office: Office) -> None:
    owner = office.someone(office.organisation())
    made = (await office.call(owner, "POST", "/keys", {"name": "k"})).json()
    path = f"/keys/{made['details']['id']}"
    rotated = (await office.call(owner, "POST", f"{path}/rotation", {})).json()["key"]
    await office.call(owner, "DELETE", path)
    log = await office.call(owner, "GET", "/audit-log")
    mine = [entry for entry in log.json()["data"] if entry["subject"] == made["details"]["id"]]
    assert [entry["action"] for entry in mine] == ["key.revoke", "key.rotate", "key.create"]
    assert {entry["actor"] for entry in mine} == {f"key:{owner.key_id}"}
    with office.engine.connect() as connection:
        rows = repr(connection.execute(text("SELECT * FROM audit_log")).all())
    for secret in (made["key"], rotated, owner.key):
        assert secret not in rows and secret[-20:] not in rows


async def test_a_stopped_key_is_refused_by_every_front_end_at_once(
    office: Office, front_url: str, redis_url: str, engine: Engine, redis: Redis
) -> None:
    owner = office.someone(office.organisation())

    async def statuses(*clients: httpx.AsyncClient, key: str) -> list[int]:
        return [(await c.get("/api/v1/key", headers={"X-API-Key": key})).status_code for c in clients]

    async with opened(front_url, redis_url, engine, redis) as other:
        both = office.client, other.client
        for stop in ("deactivate", "rotate", "delete"):
            made = (await office.call(owner, "POST", "/keys", {"name": stop})).json()
            path = f"/keys/{made['details']['id']}"
            assert await statuses(*both, key=made["key"]) == [200, 200]  # known and cached for 30 s
            if stop == "deactivate":
                await office.call(owner, "PATCH", path, {"state": "deactivated"})
            elif stop == "rotate":
                await office.call(owner, "POST", f"{path}/rotation", {})
            else:
                await office.call(owner, "DELETE", path)

            async def refused(key: str = made["key"]) -> bool:
                return await statuses(*both, key=key) == [401, 401]

            await until(refused, f"refused after: {stop}")


async def test_a_front_end_goes_by_its_own_changes_before_their_news_arrive(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_payload: bytes) -> News:
        raise ValueError

    monkeypatch.setattr(parts, "decode_news", lost)
    owner = office.someone(office.organisation())
    made = (await office.call(owner, "POST", "/keys", {"name": "k"})).json()
    path = f"/keys/{made['details']['id']}"
    for state, status in (("active", 200), ("deactivated", 401)) * 2:
        await office.call(owner, "PATCH", path, {"state": state})
        assert (await office.call(made["key"], "GET", "/keys")).status_code == status
    await office.call(owner, "PATCH", path, {"state": "active"})
    assert (await office.call(made["key"], "GET", "/keys")).status_code == 200
    rotated = (await office.call(owner, "POST", f"{path}/rotation", {})).json()["key"]
    assert [(await office.call(key, "GET", "/keys")).status_code for key in (made["key"], rotated)] == [401, 200]


async def test_a_key_tells_when_it_was_last_used(front_url: str, redis_url: str, engine: Engine, redis: Redis) -> None:
    async with opened(front_url, redis_url, engine, redis) as office:
        owner = office.someone(office.organisation())
        unused = office.someone(owner.org, "member")
        shown = await office.call(owner, "GET", f"/keys/{unused.key_id}")
        assert shown.json()["last_used_at"] is None
    with engine.connect() as connection:  # the process has ended and written what it knew
        query = text("SELECT last_used_at > now() - interval '1 minute' FROM api_key WHERE id = :id")
        assert connection.scalar(query, {"id": owner.key_id})
