"""The scene of a module's calls: a front end over servers of its own data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher
from redis import Redis
from sqlalchemy import Engine

from gateway import redis as redis_clients
from gateway.accounts import people
from gateway.credit import upkeep
from gateway.db import connect
from tests.api.manage.conftest import front_url
from tests.fuzz.scene import Scene, scene

__all__ = ["front_url"]


@pytest.fixture(scope="module")
def world(front_url: str, database_url: str, redis_server: str) -> Iterator[Scene]:
    engine: Engine = connect.engine(database_url)
    client: Redis = redis_clients.connect(redis_server)
    client.flushall()
    upkeep.rebuild_begin(client)
    upkeep.rebuild_end(client, [], "1")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(people, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        with scene(front_url, redis_server, engine, client) as made:
            yield made
    client.close()
    engine.dispose()
