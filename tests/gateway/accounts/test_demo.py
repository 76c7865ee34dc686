"""The demo organisation: complete at the first start, the same at every later one."""

from __future__ import annotations

import pytest
from redis import Redis
from sqlalchemy import Engine, select

from gateway.accounts import demo, keys, people
from gateway.accounts.change import OPERATOR, changing
from gateway.accounts.identity import key_hash
from gateway.accounts.store import IdentityStore
from gateway.db import connect
from gateway.db.tables.accounts import topup_request

pytestmark = pytest.mark.anyio


async def test_the_demo_can_call_sign_in_and_pay(
    engine: Engine, redis: Redis, database_url: str, redis_url: str
) -> None:
    made = demo.ensure_demo(database_url, redis_url, "", known=None)
    front = connect.async_engine(database_url)
    for surface in ("bizrouter", "krouter"):
        identity = await IdentityStore(front).by_hash(key_hash(made[f"{surface}_key"]))
        assert identity is not None
        assert (identity.org_id, identity.prepaid, identity.role) == (made["org"], True, "owner")
    await front.dispose()
    with engine.connect() as connection:
        assert people.verify(connection, made["console_email"], made["console_password"]) is not None
        credit = connection.execute(select(topup_request).where(topup_request.c.org == made["org"])).one()
    assert (credit.amount_won, credit.state) == (100_000, "pending")


def test_a_later_start_keeps_what_still_works(engine: Engine, redis: Redis, database_url: str, redis_url: str) -> None:
    first = demo.ensure_demo(database_url, redis_url, "", known=None)
    assert demo.ensure_demo(database_url, redis_url, "", known=first) == first
    with changing(engine, redis, OPERATOR) as change:
        key = keys.by_secret(change.connection, first["krouter_key"])
        assert key is not None
        keys.revoke(change, key.id)
    third = demo.ensure_demo(database_url, redis_url, "", known=first)
    assert third["krouter_key"] != first["krouter_key"]
    assert third | {"krouter_key": ""} == first | {"krouter_key": ""}


def test_a_lost_password_is_replaced_in_the_same_organisation(
    engine: Engine, redis: Redis, database_url: str, redis_url: str
) -> None:
    first = demo.ensure_demo(database_url, redis_url, "", known=None)
    second = demo.ensure_demo(database_url, redis_url, "", known=None)
    assert second["org"] == first["org"]
    with engine.connect() as connection:
        assert people.verify(connection, demo.EMAIL, first["console_password"]) is None
        assert people.verify(connection, demo.EMAIL, second["console_password"]) is not None
        requests = connection.execute(select(topup_request).where(topup_request.c.org == first["org"])).all()
    assert len(requests) == 1
