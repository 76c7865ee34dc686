"""The life of a key: every change raises its version, reaches the window at once, and leaves a trace."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Engine, select

from gateway.accounts import keys
from gateway.accounts.change import OPERATOR, Change, changing
from gateway.accounts.identity import Identity, key_hash
from gateway.accounts.organisations import Organisation
from gateway.accounts.store import IdentityStore
from gateway.db import connect
from gateway.db.tables.accounts import api_key, audit_log, outbox
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.wire import keys as names
from gateway.wire.job import Surface
from gateway.wire.news import News, decode_news
from tests.gateway.accounts.conftest import Relay

pytestmark = pytest.mark.anyio


def make(
    engine: Engine, redis: Redis, org: Organisation, terms: keys.Terms | None = None, surface: Surface = "bizrouter"
) -> tuple[keys.Key, str]:
    with changing(engine, redis, OPERATOR) as change:
        return keys.create(change, org.id, surface, terms or {"name": "k"})


async def identity(database_url: str, secret: str) -> Identity | None:
    engine = connect.async_engine(database_url)
    try:
        return await IdentityStore(engine).by_hash(key_hash(secret))
    finally:
        await engine.dispose()


def window_version(redis: Any, key: str) -> bytes | None:
    return redis.execute_command("HGET", names.key(key), "v")


@contextmanager
def news(redis: Any) -> Generator[Callable[[], bytes]]:
    """Listens to the news; each call returns the next message."""
    with redis.pubsub() as listener:
        listener.subscribe(names.NEWS)
        listener.get_message(timeout=60)  # the subscription's own answer
        yield lambda: listener.get_message(timeout=60)["data"]


def test_both_kinds_of_key_have_their_documented_form(engine: Engine, redis: Redis, org: Organisation) -> None:
    made, secret = make(engine, redis, org)
    form = re.fullmatch(r"sk-br-v1-([0-9a-f-]{36})_([A-Za-z0-9_-]{43})", secret)
    assert form is not None
    assert form[1] == made.id
    assert uuid.UUID(form[1]).version == 4
    assert re.fullmatch(r"kr-[A-Za-z0-9_-]{43}", make(engine, redis, org, surface="krouter")[1])


def test_only_the_hash_of_a_key_is_stored(engine: Engine, redis: Redis, org: Organisation) -> None:
    made, secret = make(engine, redis, org)
    token = secret.partition("_")[2]
    with engine.connect() as connection:
        rows = connection.execute(select(api_key).where(api_key.c.id == made.id)).all()
        traces = connection.execute(select(audit_log).where(audit_log.c.subject == made.id)).all()
        changes = connection.execute(select(outbox).where(outbox.c.key == made.id)).all()
    assert rows[0].hash == key_hash(secret)
    assert token not in repr((rows, traces, changes))
    assert made.hint == f"sk-br-v1-{made.id[:8]}…{secret[-4:]}"


async def test_a_new_key_works_at_once(
    engine: Engine, redis: Redis, org: Organisation, database_url: str, relay: Relay
) -> None:
    made, secret = make(engine, redis, org, {"name": "k", "limit_won": Decimal("5000.5"), "rpm": 3})
    assert window_version(redis, made.id) == b"1"
    found = await identity(database_url, secret)
    assert found is not None
    assert (found.key_id, found.key_version, found.key_limit_micro, found.key_rpm) == (made.id, 1, 5_000_500_000, 3)
    assert relay(org.id) == ["known", "applied"]
    assert window_version(redis, made.id) == b"1"


async def test_a_change_raises_the_version_and_the_window_hears_of_it_before_the_outbox_is_read(
    engine: Engine, redis: Redis, org: Organisation, database_url: str, relay: Relay
) -> None:
    made, secret = make(engine, redis, org)
    with news(redis) as heard:
        with changing(engine, redis, OPERATOR) as change:
            changed = keys.update(change, made.id, {"limit_won": Decimal(10), "models": ["kr/gpt4o"]})
        assert decode_news(heard()) == News("key", made.id)
    assert changed.version == 2
    assert window_version(redis, made.id) == b"2"
    found = await identity(database_url, secret)
    assert found is not None
    assert (found.key_version, found.key_limit_micro, found.models) == (2, 10_000_000, frozenset({"openai/gpt-4o"}))
    assert relay(org.id) == ["known", "applied", "applied"]
    assert window_version(redis, made.id) == b"2"


async def test_a_revoked_key_is_not_found_and_its_version_is_raised(
    engine: Engine, redis: Redis, org: Organisation, database_url: str
) -> None:
    made, secret = make(engine, redis, org)
    with changing(engine, redis, OPERATOR) as change:
        revoked = keys.revoke(change, made.id)
    assert (revoked.state, revoked.version) == ("deleted", 2)
    assert window_version(redis, made.id) == b"2"
    assert await identity(database_url, secret) is None
    with pytest.raises(Conflict), changing(engine, redis, OPERATOR) as change:
        keys.update(change, made.id, {"state": "active"})


async def test_a_deactivated_key_can_be_activated_again(
    engine: Engine, redis: Redis, org: Organisation, database_url: str
) -> None:
    made, secret = make(engine, redis, org)
    with changing(engine, redis, OPERATOR) as change:
        keys.update(change, made.id, {"state": "deactivated"})
    assert await identity(database_url, secret) is None
    with changing(engine, redis, OPERATOR) as change:
        keys.update(change, made.id, {"state": "active"})
    found = await identity(database_url, secret)
    assert found is not None
    assert found.key_version == 3


@pytest.mark.parametrize("surface", ["bizrouter", "krouter"])
async def test_a_rotated_secret_stops_at_once_and_the_key_goes_on(
    engine: Engine, redis: Redis, org: Organisation, database_url: str, surface: Surface
) -> None:
    made, old = make(engine, redis, org, {"name": "k", "limit_won": Decimal(7)}, surface)
    with changing(engine, redis, OPERATOR) as change:
        rotated, new = keys.rotate(change, made.id)
    assert await identity(database_url, old) is None
    found = await identity(database_url, new)
    assert found is not None
    assert (found.key_id, found.key_version, found.key_limit_micro) == (made.id, 2, 7_000_000)
    assert rotated.hint == keys.hint(new)
    assert window_version(redis, made.id) == b"2"


async def test_with_grace_both_secrets_work_until_the_next_rotation(
    engine: Engine, redis: Redis, org: Organisation, database_url: str
) -> None:
    made, first = make(engine, redis, org)
    with changing(engine, redis, OPERATOR) as change:
        second = keys.rotate(change, made.id, grace_s=3600)[1]
    by_first, by_second = await identity(database_url, first), await identity(database_url, second)
    assert by_first is not None
    assert by_second is not None
    assert by_first.expires_ms is not None
    assert by_second.expires_ms is None
    with changing(engine, redis, OPERATOR) as change:
        third = keys.rotate(change, made.id)[1]
    assert [await identity(database_url, secret) is None for secret in (first, second, third)] == [True, True, False]


def test_every_change_is_in_the_audit_log_with_what_was_before(engine: Engine, redis: Redis, org: Organisation) -> None:
    made, _ = make(engine, redis, org, {"name": "k", "limit_won": Decimal("1.5")})
    with changing(engine, redis, "person-7") as change:
        keys.update(change, made.id, {"limit_won": None})
        keys.rotate(change, made.id)
        keys.revoke(change, made.id)
    with engine.connect() as connection:
        log = connection.execute(select(audit_log).where(audit_log.c.subject == made.id).order_by(audit_log.c.id)).all()
    assert [(row.actor, row.action) for row in log] == [
        ("operator", "key.create"), ("person-7", "key.set"), ("person-7", "key.rotate"), ("person-7", "key.revoke"),
    ]  # fmt: skip
    assert log[1].details == {"limit_won": None, "limit_won_was": "1.500000"}
    assert {str(row.org) for row in log} == {org.id}


def revoke_then_fail(change: Change, key: str) -> None:
    keys.revoke(change, key)
    keys.revoke(change, str(uuid.uuid4()))


def test_nothing_is_told_when_the_transaction_fails(engine: Engine, redis: Any, org: Organisation) -> None:
    made, _ = make(engine, redis, org)

    with news(redis) as heard:
        with pytest.raises(NotFound), changing(engine, redis, OPERATOR) as change:
            revoke_then_fail(change, made.id)
        redis.execute_command("PUBLISH", names.NEWS, b"end")
        assert heard() == b"end"
    assert window_version(redis, made.id) == b"1"
    with engine.connect() as connection:
        assert keys.listed(connection, org.id)[-1].version == 1


def test_an_organisation_cannot_reach_the_key_of_another(engine: Engine, redis: Redis, org: Organisation) -> None:
    made, _ = make(engine, redis, org)
    stranger = str(uuid.uuid4())
    attempts: list[Callable[[Change], object]] = [
        lambda change: keys.update(change, made.id, {"name": "x"}, org=stranger),
        lambda change: keys.rotate(change, made.id, org=stranger),
        lambda change: keys.revoke(change, made.id, org=stranger),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound), changing(engine, redis, OPERATOR) as change:
            attempt(change)


@pytest.mark.parametrize(
    ("terms", "param"),
    [
        ({"name": " "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"limit_won": Decimal(-1)}, "limit_won"),
        ({"limit_won": Decimal("0.0000001")}, "limit_won"),
        ({"limit_won": Decimal(9_000_000_001)}, "limit_won"),
        ({"limit_won": Decimal("NaN")}, "limit_won"),
        ({"rpm": -1}, "rpm"),
        ({"concurrency": 2**31}, "concurrency"),
        ({"models": ["openai/gpt-9"]}, "models"),
        ({"expires_at": dt.datetime(2030, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None)}, "expires_at"),
        ({"state": "deleted"}, "state"),
    ],
)
def test_a_wrong_term_is_refused_by_name(
    engine: Engine, redis: Redis, org: Organisation, terms: keys.Terms, param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        make(engine, redis, org, {"name": "k", **terms})
    assert refused.value.param == param


def test_deleted_keys_are_listed_only_when_asked_for(engine: Engine, redis: Redis, org: Organisation) -> None:
    kept, gone = make(engine, redis, org)[0], make(engine, redis, org)[0]
    with changing(engine, redis, OPERATOR) as change:
        keys.revoke(change, gone.id)
    with engine.connect() as connection:
        assert [key.id for key in keys.listed(connection, org.id)] == [kept.id]
        assert [key.id for key in keys.listed(connection, org.id, deleted=True)] == [kept.id, gone.id]
