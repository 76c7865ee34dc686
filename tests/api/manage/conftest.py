"""Front ends over a real PostgreSQL, as its role ``wonrouter_api``, and a real Valkey; people and organisations in it."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from redis import Redis
from sqlalchemy import Engine

from api.parts import Sources
from api.postgres import PostgresSources
from gateway import redis as redis_clients
from gateway.accounts import keys, organisations, people
from gateway.accounts.change import OPERATOR, Change, changing
from gateway.accounts.identity import Role
from gateway.accounts.people import MemberRole
from gateway.credit import upkeep
from gateway.db import connect, migrate
from gateway.db.seed import seed
from gateway.settings import Settings
from tests.api.conftest import SECRET, Book, front_end

PASSWORD = "correct horse battery"
BASE = "/api/v1/manage"


@dataclasses.dataclass(frozen=True)
class Someone:
    """A person with a role in an organisation, and an API key of theirs."""

    id: str
    email: str
    org: str
    role: Role
    key: str
    key_id: str


class Staff(Book):
    """Sources that are PostgreSQL's."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._real = PostgresSources(settings).sources()

    def sources(self) -> Sources:
        return self._real


@dataclasses.dataclass
class Office:
    """One front end, and what a test does with it."""

    client: httpx.AsyncClient
    engine: Engine
    redis: Redis
    settings: Settings

    def organisation(self, name: str = "회사", **terms: Any) -> str:
        with changing(self.engine, self.redis, OPERATOR) as change:
            return organisations.create(change, {"name": name, "billing": "prepaid", **terms}).id

    def someone(self, org: str, role: Role = "owner", *, key: bool = True) -> Someone:
        """A new person, with an API key of theirs unless it is not wanted."""
        email = f"{uuid.uuid4().hex}@example.kr"
        with changing(self.engine, self.redis, OPERATOR) as change:
            person = people.create(change, email, "김하나", PASSWORD, operator=role == "operator")
            if role != "operator":
                people.join(change, org, person.id, role)
            made = self._key(change, org, person.id) if key else ("", "")
        return Someone(person.id, email, org, role, *made)

    def join(self, someone: Someone, org: str, role: MemberRole) -> None:
        with changing(self.engine, self.redis, OPERATOR) as change:
            people.join(change, org, someone.id, role)

    def _key(self, change: Change, org: str, person: str) -> tuple[str, str]:
        made, secret = keys.create(change, org, "bizrouter", {"name": "mine"}, created_by=person)
        return secret, made.id

    async def call(self, who: Someone | str, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        """A call with an API key."""
        key = who if isinstance(who, str) else who.key
        return await self.client.request(method, BASE + path, json=body, params=query, headers={"X-API-Key": key})

    async def sign_in(self, who: Someone, **fields: Any) -> Visit:
        answer = await self.client.post(f"{BASE}/session", json={"email": who.email, "password": PASSWORD, **fields})
        assert answer.status_code == 200, answer.text
        return self.visit(answer)

    def visit(self, answer: httpx.Response) -> Visit:
        token = answer.cookies["wonrouter_session"]
        self.client.cookies.clear()  # each visit sends its own
        return Visit(self.client, token, answer.json()["csrf_token"])


@dataclasses.dataclass
class Visit:
    """A browser with a session."""

    client: httpx.AsyncClient
    token: str
    csrf: str

    async def call(self, method: str, path: str, body: Any = None, *, csrf: str | None = None, **query: Any) -> Any:
        headers = {"Cookie": f"wonrouter_session={self.token}", "X-CSRF-Token": self.csrf if csrf is None else csrf}
        answer = await self.client.request(method, BASE + path, json=body, params=query, headers=headers)
        self.client.cookies.clear()
        return answer


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id at a thousandth of its price: what it costs is not what is tested here."""
    monkeypatch.setattr(people, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


@pytest.fixture(scope="module")
def front_url(database_url: str) -> str:
    """The database as ``wonrouter_api`` reaches it."""
    seed(database_url)
    password = secrets.token_hex(8)
    migrate.upgrade(database_url, {"wonrouter_api": password})
    return f"postgresql://wonrouter_api:{password}@{database_url.rpartition('@')[2]}"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The owner's."""
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


@contextlib.asynccontextmanager
async def opened(front_url: str, redis_url: str, engine: Engine, redis: Redis, **more: Any) -> AsyncIterator[Office]:
    """A front end of its own."""
    settings = Settings(database_url=front_url, redis_url=redis_url, secret=SECRET, **more)
    async with (
        front_end(redis_url, Staff(settings), **more) as (_, _, port, _),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, verify=False) as client,
    ):
        yield Office(client, engine, redis, settings)


@pytest.fixture
async def office(front_url: str, redis_url: str, engine: Engine, redis: Redis) -> AsyncIterator[Office]:
    async with opened(front_url, redis_url, engine, redis) as made:
        yield made
