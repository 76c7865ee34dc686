"""A database with an organisation, the billing role's connection to it, and events as workers leave them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine

import gateway.redis
from billing.lock import SettlerLock
from billing.settlement import settle
from gateway.db import connect, migrate
from tests.billing.events import usage_event
from gateway.wire import ids, keys
from gateway.wire.event import UsageEvent, encode_event

PASSWORD = "only for tests"


@dataclasses.dataclass
class Books:
    """What the tests of this room work with: both stores, and shortcuts over them."""

    owner: Engine
    billing: Engine
    redis: Any
    org: str
    key: str

    def append(self, event: UsageEvent, *, out: str = "posted", hold: bool = True, **fields: Any) -> bytes:
        """Appends an event to the stream as the scripts do."""
        entry: dict[str, Any] = {
            "job": event.job, "org": event.org, "key": event.key, "out": out, "micro": event.micro, "ep": 1,
            "hold": int(hold), "ev": encode_event(event), "att": b"",
        } | fields  # fmt: skip
        return self.redis.xadd(keys.USAGE, entry)

    def event(self, **changes: Any) -> UsageEvent:
        return usage_event(self.org, self.key, **changes)

    def settle(self, most: int = 1000) -> int:
        """One turn of settlement under the lock."""
        lock = SettlerLock(self.billing)
        with lock.turn(wait=True) as connection:
            assert connection is not None
            done = settle(self.redis, connection, most)
        lock.close()
        return done

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """Reads as the owner."""
        with self.owner.connect() as connection:
            return list(connection.execute(sa.text(statement), values))

    def one(self, statement: str, **values: Any) -> Any:
        """The single value that a statement reads."""
        [[value]] = self.rows(statement, **values)
        return value

    def balance(self, kind: str) -> Any:
        """A balance in won, debit positive; the organisation's where it has one."""
        return self.one(
            "SELECT coalesce(sum(b.won), 0) FROM account a JOIN account_balance b ON b.account = a.id "
            "WHERE a.kind = :kind AND (a.org IS NULL OR a.org = :org)",
            kind=kind, org=self.org,
        )  # fmt: skip

    def new_org(self, billing: str = "prepaid") -> tuple[str, str]:
        """Another organisation and its key, known to the window as accounts would make it."""
        org, key = str(uuid.uuid4()), str(uuid.uuid4())
        with self.owner.begin() as connection:
            add_org(connection, org, key, billing)
        return org, key


def add_org(connection: Connection, org: str, key: str, billing: str = "prepaid") -> None:
    connection.execute(
        sa.text("INSERT INTO organisation (id, name, billing) VALUES (:org, '한빛상사', :billing)"),
        {"org": org, "billing": billing},
    )
    connection.execute(
        sa.text(
            "INSERT INTO api_key (id, org, name, surface, hash, hint) "
            "VALUES (:key, :org, 'k', 'bizrouter', :hash, 'sk…')"
        ),
        {"key": key, "org": org, "hash": os.urandom(32)},
    )


def as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{PASSWORD.replace(' ', '%20')}@{place}"))


@pytest.fixture(scope="module")
def role_url(database_url: str) -> Iterator[Any]:
    """The database's URL for one of the roles."""
    migrate.upgrade(database_url, dict.fromkeys(migrate.ROLES, PASSWORD))
    yield lambda role: as_role(database_url, role)


@pytest.fixture(scope="module")
def engines(database_url: str, role_url: Any) -> Iterator[tuple[Engine, Engine]]:
    owner = connect.engine(database_url, statement_timeout_ms=None)
    billing = connect.engine(role_url("wonrouter_billing"), statement_timeout_ms=None)
    yield owner, billing
    owner.dispose()
    billing.dispose()


@pytest.fixture
def books(engines: tuple[Engine, Engine], redis_url: str) -> Iterator[Books]:
    """A fresh organisation in an empty Redis; the database is shared by the module's tests."""
    owner, billing = engines
    org, key = str(uuid.uuid4()), str(uuid.uuid4())
    with owner.begin() as connection:
        add_org(connection, org, key)
    redis = gateway.redis.connect(redis_url)
    yield Books(owner, billing, redis, org, key)
    redis.close()


def at(moment: str) -> int:
    """An ISO moment in milliseconds since 1970."""
    return int(dt.datetime.fromisoformat(moment).timestamp() * 1000)


def job_at(milliseconds: int) -> str:
    """A job id of that moment, as the admission script makes it."""
    a, b = ids.random_parts()
    return f"{milliseconds:012x}7{a}{b}"
