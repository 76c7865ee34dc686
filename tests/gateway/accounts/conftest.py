"""A database and a Redis with an open window, as a running installation has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from redis import Redis
from sqlalchemy import Engine, select

from gateway import redis as redis_clients
from gateway.accounts.change import OPERATOR, changing
from gateway.accounts.organisations import Organisation, create
from gateway.credit import upkeep
from gateway.db import connect
from gateway.db.tables.accounts import outbox


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect.engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    client = redis_clients.connect(redis_url)
    upkeep.rebuild_begin(client)
    upkeep.rebuild_end(client, [], "1")
    yield client
    client.close()


Relay = Callable[[str], list[str]]


@pytest.fixture
def relay(engine: Engine, redis: Redis) -> Relay:
    """Applies an organisation's outbox to the window, as billing's loop does. Returns the verdicts."""

    def run(org: str) -> list[str]:
        query = select(outbox).where(outbox.c.org == org).order_by(outbox.c.seq)
        with engine.connect() as connection:
            rows = connection.execute(query).all()
        changes = [
            upkeep.Change(
                str(r.org), r.seq, r.balance_micro, r.org_version, None if r.key is None else str(r.key),
                r.key_version, r.key_spent_micro, r.month, r.month_spent_micro, r.news,
            )
            for r in rows
        ]  # fmt: skip
        return [upkeep.apply(redis, change, "1") for change in changes]

    return run


@pytest.fixture
def org(engine: Engine, redis: Redis, relay: Relay) -> Organisation:
    """A prepaid organisation that the window knows."""
    with changing(engine, redis, OPERATOR) as change:
        made = create(change, {"name": "회사", "billing": "prepaid"})
    relay(made.id)
    return made
