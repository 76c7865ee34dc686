"""A whole front end in the test's own loop, on a free port, over a real Valkey; PostgreSQL and the worker are played."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import datetime as dt
import socket
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest
import redis.asyncio as aio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.app import create_app
from api.parts import Parts, Sources
from api.server import Server, configured
from api.sources import SourceAway
from gateway.accounts.identity import Identity, key_hash
from gateway.catalogue.model import FxRate
from gateway.catalogue.packaged import builtin
from gateway.catalogue.snapshot import Snapshot
from gateway.settings import Settings
from gateway.wire import keys
from tests.api.worker import PlayedWorker

SECRET = base64.b64encode(bytes(range(32))).decode()
KEY = "sk-br-v1-00000000-0000-4000-8000-000000000001_secret"
KROUTER_KEY = "kr-another-secret"
MODEL = "openai/gpt-4o"
EPOCH = "1"
WON = 1_000_000


def snapshot(available: frozenset[str] | None = None) -> Snapshot:
    """The packaged catalogue at 1,470 won, every model with a deployment."""
    packaged = builtin()
    rate = FxRate(id="r1", date=dt.date(2025, 12, 8), rate=Decimal(1470), source="test", effective_from_ms=0)
    return Snapshot(
        version="test",
        models=packaged.models,
        aliases=packaged.aliases,
        prices={price.model: (price,) for price in packaged.prices},
        rates=(rate,),
        available=frozenset(packaged.models) if available is None else available,
        retired=packaged.retired,
    )


class Book:
    """What stands for PostgreSQL: keys, the window's epoch, the catalogue, receipts. ``away`` makes it unreachable."""

    def __init__(self) -> None:
        self.identities: dict[bytes, Identity] = {}
        self.epoch = EPOCH
        self.catalogue = snapshot()
        self.receipts: dict[tuple[str, str], dict[str, Any]] = {}
        self.sought: list[tuple[str, str]] = []
        self.forbidden: list[str] = []
        self.away = False
        self.asked = 0
        self.epochs_told = 0

    def put(self, key: str, identity: Identity) -> Identity:
        self.identities[key_hash(key)] = identity
        return identity

    def change(self, key: str, **changes: Any) -> Identity:
        return self.put(key, msgspec.structs.replace(self.identities[key_hash(key)], **changes))

    async def by_hash(self, sha256: bytes) -> Identity | None:
        self._reached()
        self.asked += 1
        return self.identities.get(sha256)

    async def window_epoch(self) -> str:
        self._reached()
        self.epochs_told += 1
        await asyncio.sleep(0)
        return self.epoch

    async def load(self) -> Snapshot:
        self._reached()
        return self.catalogue

    async def receipt(self, org_id: str, job_id: str) -> dict[str, Any] | None:
        self._reached()
        self.sought.append((org_id, job_id))
        return self.receipts.get((org_id, job_id))

    async def words(self, org_id: str) -> tuple[int, list[str]]:
        self._reached()
        return len(self.forbidden), self.forbidden

    async def aclose(self) -> None:
        self.away = True

    def sources(self) -> Sources:
        return Sources(self, self, self, self, self.aclose, words=self)

    def _reached(self) -> None:
        if self.away:
            raise SourceAway("test")


@dataclasses.dataclass
class House:
    """One front end with everything around it."""

    book: Book
    redis: aio.Redis
    worker: PlayedWorker
    client: httpx.AsyncClient
    parts: Parts
    server: Server
    port: int
    settings: Settings

    async def open_window(self, identity: Identity, *, balance_micro: int = 1_000 * WON) -> None:
        """What the billing process would have written."""
        await self.redis.set(keys.EPOCH, EPOCH)
        org = {"v": identity.org_version, "bal": balance_micro, "held": 0, "slots": 0, "seq": 0}
        await self.redis.hset(keys.org(identity.org_id), mapping=org)
        key = {"v": identity.key_version, "spent": 0, "held": 0, "slots": 0}
        await self.redis.hset(keys.key(identity.key_id), mapping=key)

    async def ask(self, base: str = "/api/v1", key: str = KEY, **fields: Any) -> httpx.Response:
        return await self.client.post(f"{base}/chat/completions", json=body(**fields), headers=bearer(key))

    @contextlib.asynccontextmanager
    async def streaming(self, **fields: Any) -> AsyncIterator[httpx.Response]:
        fields["stream"] = True
        async with self.client.stream(
            "POST", "/api/v1/chat/completions", json=body(**fields), headers=bearer(KEY)
        ) as response:
            yield response

    async def window(self, identity: Identity) -> tuple[int, int]:
        """(held micro-won, slots) of the organisation."""
        held, slots = await self.redis.hmget(keys.org(identity.org_id), "held", "slots")
        return int(held), int(slots)


def body(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], **fields}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def an_identity(**fields: Any) -> Identity:
    given: dict[str, Any] = {
        "key_id": "key1", "key_name": "test", "key_version": 1, "org_id": "org1", "org_name": "Org", "org_version": 1,
        "prepaid": True, "policy": "strict", **fields,
    }  # fmt: skip
    return Identity(**given)


async def until(condition: Any, what: str = "condition") -> Any:
    """Waits for what another task does; the bound only keeps a broken test from hanging."""
    for _ in range(1500):
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        await asyncio.sleep(0.01)
    raise AssertionError(f"never: {what}")


def own_line(redis_url: str) -> aio.Redis:
    """A test's own connections to Redis: redis-py by itself gives up after five seconds, and sends a command twice."""
    return aio.Redis.from_url(redis_url, socket_timeout=None, socket_connect_timeout=None, retry=Retry(NoBackoff(), 0))


@contextlib.asynccontextmanager
async def front_end(redis_url: str, book: Book, **overrides: Any) -> AsyncIterator[tuple[Parts, Server, int, Settings]]:
    """A front end on a free port, in this loop. It gives nothing up because a machine is slow: limits that a test is about
    are that test's own."""
    quick: dict[str, Any] = {
        "secret": SECRET, "unclaimed_s": 0.4, "lease_s": 60.0, "placed_lease_s": 20.0, "header_silence_s": 60.0,
        "keepalive_s": 0.2, "identity_cache_s": 30.0, "drain_s": 0.0, "sandbox": True, "arriving_wait_s": 20.0,
        "most_lag_s": 60.0, **overrides,
    }  # fmt: skip
    settings = Settings(database_url="postgresql://unused", redis_url=redis_url, **quick)
    app = create_app(settings, book.sources())
    listener = socket.socket()  # the server closes it
    listener.bind(("127.0.0.1", 0))
    listener.setblocking(False)
    config = configured(app, settings, host="127.0.0.1", port=0, trust_proxy="")
    server = Server(config, app, settings.drain_s)
    server.capture_signals = contextlib.nullcontext  # the signals are pytest's
    task = asyncio.create_task(server.serve([listener]))
    await until(lambda: server.started, "started")
    yield app.parts, server, listener.getsockname()[1], settings
    server.should_exit = True
    await asyncio.wait_for(task, 60)


@pytest.fixture
def settings_overrides() -> dict[str, Any]:
    """Overridden by tests that need other limits."""
    return {}


@pytest.fixture
async def house(redis_url: str, settings_overrides: dict[str, Any]) -> AsyncIterator[House]:
    book = Book()
    identity = book.put(KEY, an_identity())
    redis = own_line(redis_url)
    async with front_end(redis_url, book, **settings_overrides) as (parts, server, port, settings):
        worker = PlayedWorker(redis, settings.sealer("job"), settings.sealer("kept"))
        await worker.listen()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, verify=False) as client:
            made = House(book, redis, worker, client, parts, server, port, settings)
            await made.open_window(identity)
            yield made
        await worker.aclose()
    await redis.aclose()


async def finish_all(house: House) -> None:
    """A worker that answers whatever comes."""
    while True:
        taken = await house.worker.take()
        await taken.end()


@pytest.fixture
async def busy(house: House) -> Any:
    task = asyncio.create_task(finish_all(house))
    yield house
    task.cancel()
