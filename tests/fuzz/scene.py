"""A front end in a thread of its own over real servers, with people of every role, and a worker that always answers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import uuid
from collections.abc import AsyncIterator, Iterator

import httpx
from anyio.from_thread import start_blocking_portal
from redis import Redis
from sqlalchemy import Engine

from gateway import tasks
from gateway.accounts import links, sessions
from gateway.accounts.change import OPERATOR, changing
from gateway.settings import Settings
from gateway.wire import keys
from tests.api.conftest import SECRET, WON, front_end, own_line
from tests.api.manage.conftest import Office, Someone, Staff
from tests.api.worker import PlayedWorker

Headers = dict[str, str]
SAID: dict[str, list[str]] = {
    "month": ["202511", "202512"],
    "model": ["sandbox/echo", "openai/gpt-4o"],
    "wait": ["0"],
}
"""Values that mean something everywhere. Nobody waits for a task: there is no billing process here."""
ROLES = ("owner", "finance", "member", "operator", "nobody")


@dataclasses.dataclass
class Scene:
    """Who calls, and what they may find.

    ``callers``: the headers that each role sends. ``known``: values of path parameters and body fields, by name, that
    mean something here; nobody who calls is among them, so that no call takes the caller's own rights away.
    """

    url: str
    office: Office
    callers: dict[str, Headers]
    known: dict[str, list[str]]
    key: str

    def refresh(self, role: str) -> Headers:
        """New credentials for a role that lost its own: a call may sign its caller out, or close the organisation."""
        self.callers[role] = _caller(self.office, role, self.known)
        return self.callers[role]


@contextlib.asynccontextmanager
async def _serving(redis_url: str, front_url: str) -> AsyncIterator[tuple[str, Settings]]:
    settings = Settings(database_url=front_url, redis_url=redis_url, secret=SECRET, sandbox=True)
    async with front_end(redis_url, Staff(settings)) as (_, _, port, running):
        line = own_line(redis_url)
        worker = PlayedWorker(line, running.sealer("job"), running.sealer("kept"))
        await worker.listen()

        async def work() -> None:
            while True:
                try:
                    taken = await worker.take()
                    if taken.job.stream:
                        await taken.say("안녕", "하세요")
                    await taken.end()
                except AssertionError:
                    continue  # it misses work after half a minute; here nobody may be asking

        task = asyncio.create_task(work())
        try:
            yield f"http://127.0.0.1:{port}", settings
        finally:
            task.cancel()
            await worker.aclose()
            await line.aclose()


@contextlib.contextmanager
def scene(front_url: str, redis_url: str, engine: Engine, redis: Redis) -> Iterator[Scene]:
    """Everything up, until the block ends."""
    with start_blocking_portal("asyncio", {"use_uvloop": True}) as portal:
        manager = portal.wrap_async_context_manager(_serving(redis_url, front_url))
        with manager as (url, settings):
            office = Office(httpx.AsyncClient(), engine, redis, settings)
            known = {name: list(values) for name, values in SAID.items()}
            callers = {role: _caller(office, role, known) for role in ROLES}
            yield Scene(url, office, callers, known, callers["owner"]["X-API-Key"])


def _caller(office: Office, role: str, known: dict[str, list[str]]) -> Headers:
    if role == "nobody":
        return {}
    org = office.organisation("퍼즈")
    window = {"v": 1, "bal": 10**9 * WON, "held": 0, "slots": 0, "seq": 0}
    office.redis.hset(keys.org(org), mapping=window)
    who = office.someone(org, role, key=role != "operator")
    _furnish(office, org, who, known)
    if role == "operator":  # what runs the installation needs somebody who is signed in
        return _signed_in(office, who)
    return {"X-API-Key": who.key}


def _signed_in(office: Office, who: Someone) -> Headers:
    """A session made by hand: signing in counts tries, and so do the calls that are generated."""
    with changing(office.engine, office.redis, OPERATOR) as change:
        token = sessions.begin(change, who.id, who.org)
    csrf = sessions.csrf_token(office.settings.hash_key, token)
    return {"Cookie": f"wonrouter_session={token}", "X-CSRF-Token": csrf}


def _furnish(office: Office, org: str, who: Someone, known: dict[str, list[str]]) -> None:
    """What the caller's organisation has besides the caller."""
    other, heir = office.someone(org, "member"), office.someone(org, "finance")
    with changing(office.engine, office.redis, OPERATOR) as change:
        invitation, token = links.invite(change, org, f"{uuid.uuid4().hex}@example.kr", "member", who.id)
        asked = tasks.ask(change, who.id, "export.usage", {"month": "202511"}, org)
    found = {
        "key_id": other.key_id, "key": other.key_id, "person": other.id, "to": heir.id, "organization": org,
        "invitation": invitation.id, "token": token, "task_id": asked.id,
    }  # fmt: skip
    for name, value in found.items():
        known.setdefault(name, []).append(value)
