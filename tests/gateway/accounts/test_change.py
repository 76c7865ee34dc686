"""A change under asyncio, and without Redis."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Engine

from gateway import redis as redis_clients
from gateway.accounts import keys
from gateway.accounts.change import OPERATOR, Change, change_async, changing
from gateway.accounts.identity import key_hash
from gateway.accounts.organisations import Organisation
from gateway.accounts.store import IdentityStore
from gateway.db import connect
from gateway.wire import keys as names
from gateway.wire.news import News
from tests.gateway.accounts.conftest import Relay

pytestmark = pytest.mark.anyio


def window(redis: Any, key: str) -> list[bytes | None]:
    return redis.execute_command("HMGET", names.key(key), "v", "spent")


async def test_a_change_under_asyncio_commits_and_is_announced(
    redis: Redis, org: Organisation, database_url: str, redis_url: str
) -> None:
    engine, line = connect.async_engine(database_url), redis_clients.RedisLine(redis_url)

    def work(change: Change) -> tuple[keys.Key, str]:
        return keys.create(change, org.id, "bizrouter", {"name": "k"})

    heard: list[tuple[News, list[bytes | None]]] = []

    def heed(news: News) -> None:
        heard.append((news, window(redis, news.id)))

    made, secret = await change_async(engine, line, "someone", work, heed)
    assert heard == [(News("key", made.id), [b"1", b"0"])]  # the window knows by then what the process goes by
    assert await IdentityStore(engine).by_hash(key_hash(secret)) is not None

    def fail(change: Change) -> None:
        keys.revoke(change, made.id)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await change_async(engine, line, "someone", fail, heed)
    assert window(redis, made.id) == [b"1", b"0"] and len(heard) == 1
    await line.aclose()
    await engine.dispose()


async def test_without_redis_a_change_is_committed_and_waits_in_the_outbox(
    engine: Engine, redis: Redis, org: Organisation, database_url: str, relay: Relay
) -> None:
    nowhere = redis_clients.connect("redis://127.0.0.1:1/0")
    with changing(engine, nowhere, OPERATOR) as change:
        made, secret = keys.create(change, org.id, "bizrouter", {"name": "k"})
    front = connect.async_engine(database_url)
    assert await IdentityStore(front).by_hash(key_hash(secret)) is not None
    await front.dispose()
    assert window(redis, made.id) == [None, None]
    assert relay(org.id) == ["known", "applied"]
    assert window(redis, made.id) == [b"1", b"0"]
