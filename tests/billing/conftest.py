"""Fixtures of the billing tests."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine

import gateway.redis
from gateway.db import connect, migrate
from tests.billing.books import PASSWORD, Books, add_org, as_role


@pytest.fixture(scope="module")
def role_url(database_url: str) -> Callable[[str], str]:
    """The database's URL for one of the roles."""
    migrate.upgrade(database_url, dict.fromkeys(migrate.ROLES, PASSWORD))
    return lambda role: as_role(database_url, role)


@pytest.fixture(scope="module")
def engines(database_url: str, role_url: Callable[[str], str]) -> Iterator[tuple[Engine, Engine]]:
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
