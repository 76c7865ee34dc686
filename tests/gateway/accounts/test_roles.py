"""What the front end does to accounts, under its own database role; what admission makes of it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import msgspec
import pytest
from redis import Redis
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import redis as redis_clients
from gateway.accounts import keys, organisations, outbox, people, topups
from gateway.accounts.change import OPERATOR, Change, change_async, changing
from gateway.accounts.identity import key_hash
from gateway.accounts.organisations import Organisation
from gateway.accounts.store import IdentityStore
from gateway.credit import admission, upkeep
from gateway.credit.admission import Placed, Refused
from gateway.db import connect, migrate
from gateway.db.catalogue_store import CatalogueReader
from tests.gateway.credit.scene import placement

pytestmark = pytest.mark.anyio


def url_as(role: str, database_url: str) -> str:
    password = secrets.token_hex(8)
    migrate.upgrade(database_url, {role: password})
    return f"postgresql://{role}:{password}@{database_url.rpartition('@')[2]}"


@pytest.fixture
async def front(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The front end's engine, signed in as ``wonrouter_api``."""
    engine = connect.async_engine(url_as("wonrouter_api", database_url))
    yield engine
    await engine.dispose()


async def test_the_front_ends_role_suffices_for_all_that_its_users_change(
    front: AsyncEngine, redis: Redis, redis_url: str
) -> None:
    def work(change: Change) -> str:
        org = organisations.create(change, {"name": "회사", "billing": "prepaid"})
        organisations.update(change, org.id, {"rpm": 5})
        person = people.create(change, f"{org.id}@example.kr", "김", "correct horse")
        people.set_password(change, person.id, "battery staple")
        people.join(change, org.id, person.id, "owner")
        key, _ = keys.create(change, org.id, "bizrouter", {"name": "k"}, created_by=person.id)
        keys.update(change, key.id, {"rpm": 5})
        _, secret = keys.rotate(change, key.id)
        topups.request(change, org.id, 1_000, "transfer", "R-1")
        return secret

    line = redis_clients.RedisLine(redis_url)
    secret = await change_async(front, line, "person", work, lambda _: None)
    await line.aclose()
    store = IdentityStore(front)
    identity = await store.by_hash(key_hash(secret))
    assert identity is not None
    assert (identity.role, identity.key_version, identity.org_version) == ("owner", 3, 2)
    await store.touch_last_used({identity.key_id: 1})
    assert (await CatalogueReader(front, sandbox=True).load()).available >= {"sandbox/echo"}


def test_billings_role_writes_the_outbox_and_books_top_ups(
    engine: Engine, redis: Redis, org: Organisation, database_url: str
) -> None:
    with changing(engine, redis, OPERATOR) as change:
        asked = topups.request(change, org.id, 1_000, "transfer", "R-1")
    billing = connect.engine(url_as("wonrouter_billing", database_url))
    with billing.begin() as connection:
        assert outbox.append(connection, org.id, balance_micro=1_000_000_000) == 2
        booked = text("UPDATE topup_request SET state = 'booked', booked_at = now() WHERE id = :id")
        assert connection.execute(booked, {"id": asked.id}).rowcount == 1
        connection.execute(text("UPDATE outbox SET applied_at = now() WHERE org = :org"), {"org": org.id})
        connection.execute(text("DELETE FROM outbox WHERE org = :org"), {"org": org.id})
        assert outbox.append(connection, org.id) == 3
    billing.dispose()


async def test_admission_refuses_a_revoked_key_although_the_identity_is_still_cached(
    engine: Engine, redis: Redis, org: Organisation, front: AsyncEngine, redis_url: str
) -> None:
    upkeep.apply(redis, upkeep.Change(org.id, 2, balance_micro=1_000_000), "1")
    with changing(engine, redis, OPERATOR) as change:
        key, secret = keys.create(change, org.id, "bizrouter", {"name": "k"})
    cached = await IdentityStore(front).by_hash(key_hash(secret))
    assert cached is not None
    line = redis_clients.RedisLine(redis_url)
    call = placement(
        window_epoch=await IdentityStore(front).window_epoch(),
        org=cached.org_id,
        key=cached.key_id,
        org_version=cached.org_version,
        key_version=cached.key_version,
    )
    assert isinstance(await admission.place(line, call), Placed)
    with changing(engine, redis, OPERATOR) as change:
        keys.revoke(change, key.id)
    assert await admission.place(line, call) == Refused("stale")
    with changing(engine, redis, OPERATOR) as change:
        organisations.update(change, org.id, {"state": "suspended"})
    assert await admission.place(line, msgspec.structs.replace(call, key_version=2)) == Refused("stale")
    await line.aclose()
