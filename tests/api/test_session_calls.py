"""Somebody signed in calls models without an API key: counted as theirs, limited, and refused as soon as they are out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from redis import Redis
from sqlalchemy import Engine, text

from api import session_calls
from gateway.accounts import members
from gateway.accounts.change import OPERATOR, changing
from gateway.wire import keys as names
from tests.api.conftest import body, own_line, until
from tests.api.manage.conftest import (  # noqa: F401 - fixtures
    Office,
    Someone,
    Visit,
    _quick_passwords,
    engine,
    front_url,
    opened,
    redis,
)
from tests.api.worker import PlayedWorker

pytestmark = pytest.mark.anyio


@pytest.fixture
async def office(front_url: str, redis_url: str, engine: Engine, redis: Redis) -> AsyncIterator[Office]:  # noqa: F811
    async with opened(front_url, redis_url, engine, redis, sandbox=True) as made:
        yield made


@contextlib.asynccontextmanager
async def working(office: Office, redis_url: str) -> AsyncIterator[PlayedWorker]:
    """A worker that answers whatever comes."""
    line = own_line(redis_url)
    worker = PlayedWorker(line, office.settings.sealer("job"), office.settings.sealer("kept"))
    await worker.listen()

    async def serve() -> None:
        while True:
            await (await worker.take()).end()

    task = asyncio.create_task(serve())
    yield worker
    task.cancel()
    await worker.aclose()
    await line.aclose()


def credit(office: Office, org: str, won: int = 1_000) -> None:
    """What billing would have told the window."""
    office.redis.hset(names.org(org), mapping={"v": 1, "bal": won * 1_000_000, "held": 0, "slots": 0, "seq": 0})


async def ask(visit: Visit, *, csrf: str | None = None, base: str = "/api/v1", **headers: str) -> httpx.Response:
    sent = {"Cookie": f"wonrouter_session={visit.token}", "X-CSRF-Token": visit.csrf if csrf is None else csrf}
    return await visit.client.post(f"{base}/chat/completions", json=body(model="sandbox/echo"), headers=sent | headers)


def console_keys_of(engine: Engine, who: Someone) -> list[Any]:  # noqa: F811
    with engine.connect() as connection:
        query = "SELECT * FROM api_key WHERE kind = 'console' AND created_by = :person AND org = :org"
        return list(connection.execute(text(query), {"person": who.id, "org": who.org}))


async def test_a_session_calls_a_model_and_the_usage_is_its_persons(
    office: Office, redis_url: str, engine: Engine  # noqa: F811
) -> None:  # fmt: skip
    who = office.someone(office.organisation(), "member")
    credit(office, who.org)
    visit = await office.sign_in(who)
    async with working(office, redis_url):
        answers = await asyncio.gather(*(ask(visit) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200, 200, 200], answers[0].text
    (key,) = console_keys_of(engine, who)
    assert (key.state, str(key.created_by), str(key.org)) == ("active", who.id, who.org)
    assert answers[0].headers["x-ratelimit-limit-requests"] == str(key.rpm)
    entries = office.redis.xrange(names.USAGE)
    assert len(entries) == 3 and all(str(key.id).encode() in b"".join(fields.values()) for _, fields in entries)


async def test_the_key_behind_a_session_is_nowhere_shown_and_cannot_be_changed(
    office: Office, redis_url: str, engine: Engine  # noqa: F811
) -> None:  # fmt: skip
    who = office.someone(office.organisation())
    credit(office, who.org)
    visit = await office.sign_in(who)
    async with working(office, redis_url):
        assert (await ask(visit)).status_code == 200
    (key,) = console_keys_of(engine, who)
    shown = (await office.call(who, "GET", "/keys", deleted=True)).json()["data"]
    assert [entry["id"] for entry in shown] == [who.key_id]
    for method, path, sent in (("GET", "", None), ("PATCH", "", {"name": "x"}), ("POST", "/rotation", {})):
        assert (await office.call(who, method, f"/keys/{key.id}{path}", sent)).status_code == 404
    assert (await office.call(who, "GET", "/members")).json()["data"][0]["keys"] == 1


async def test_without_the_csrf_token_or_from_another_site_nothing_happens(office: Office) -> None:
    who = office.someone(office.organisation())
    credit(office, who.org)
    visit = await office.sign_in(who)
    for refused in (
        await ask(visit, csrf=""),
        await ask(visit, csrf="0" * 64),
        await ask(visit, **{"Sec-Fetch-Site": "cross-site"}),
        await ask(visit, **{"Sec-Fetch-Site": "same-site"}),
    ):
        assert refused.status_code == 403 and refused.json()["error"]["code"] == "permission_denied"
    form = await ask(visit, **{"Content-Type": "text/plain"})
    assert form.status_code == 400
    assert office.redis.xlen(names.USAGE) == 0 and office.redis.llen(names.CALL_QUEUE) == 0


async def test_a_session_works_on_the_documented_base_path_only_and_never_beside_a_wrong_key(
    office: Office,
) -> None:
    who = office.someone(office.organisation())
    visit = await office.sign_in(who)
    assert (await ask(visit, base="/v1")).status_code == 401
    assert (await ask(visit, **{"X-API-Key": "sk-br-v1-wrong"})).status_code == 401
    assert (await ask(visit, Authorization="Bearer kr-wrong")).status_code == 401
    models = await visit.client.get("/api/v1/models", headers={"Cookie": f"wonrouter_session={visit.token}"})
    assert models.status_code == 200


async def test_whoever_signed_out_or_left_is_refused(
    office: Office, redis_url: str, monkeypatch: pytest.MonkeyPatch, engine: Engine  # noqa: F811
) -> None:  # fmt: skip
    org = office.organisation()
    office.someone(org)
    leaver, other = office.someone(org, "member"), office.someone(org, "member")
    credit(office, org)
    first, second = await office.sign_in(leaver), await office.sign_in(other)
    async with working(office, redis_url):
        assert (await ask(first)).status_code == (await ask(second)).status_code == 200
        # removal reaches the key itself: no cache of sessions has to end first
        monkeypatch.setattr(session_calls, "FRESH_S", 3_600.0)
        assert (await ask(first)).status_code == 200
        with changing(office.engine, office.redis, OPERATOR) as change:
            members.remove(change, org, leaver.id, "hand_over", other.id)
        assert (await ask(first)).status_code == 401
        await second.call("DELETE", "/session")

        async def refused() -> bool:
            return (await ask(second)).status_code == 401

        await until(refused, "refused after signing out")
    assert [key.state for key in console_keys_of(engine, leaver)] == ["deactivated"]


async def test_a_role_that_calls_no_models_is_refused_and_one_that_is_back_goes_on(
    office: Office, redis_url: str, engine: Engine  # noqa: F811
) -> None:  # fmt: skip
    org = office.organisation()
    office.someone(org)
    who = office.someone(org, "member")
    credit(office, org)
    visit = await office.sign_in(who)
    async with working(office, redis_url):
        assert (await ask(visit)).status_code == 200
        with changing(office.engine, office.redis, OPERATOR) as change:
            members.set_role(change, org, who.id, "finance")
        refused = await ask(visit)
        assert refused.status_code in (401, 403)
        with changing(office.engine, office.redis, OPERATOR) as change:
            members.set_role(change, org, who.id, "member")
        again = await office.sign_in(who)
        assert (await ask(again)).status_code == 200
    assert len(console_keys_of(engine, who)) == 1
