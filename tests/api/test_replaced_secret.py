"""WONROUTER_SECRET is replaced one process after the other: those that have the new one understand those that do not."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.settings import Settings
from tests.api.conftest import KEY, SECRET, House, bearer, body, front_end
from tests.api.worker import PlayedWorker, Taken, answer, event

pytestmark = pytest.mark.anyio

NEXT = base64.b64encode(bytes(range(32, 64))).decode()
BEFORE = {"secrets_accepted": NEXT}
AFTER = {"secret": NEXT, "secrets_accepted": SECRET, "hash_secret": SECRET}
CHAT = "/api/v1/chat/completions"


@pytest.fixture
def settings_overrides() -> dict[str, Any]:
    """The house is a process that does not have the new secret yet."""
    return dict(BEFORE)


@pytest.fixture
async def ends(house: House, redis_url: str) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Two front ends over one Redis: with the old secret, and with the new one."""
    async with (
        front_end(redis_url, house.book, **AFTER) as (_, _, port, _),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, verify=False) as client,
    ):
        yield house.client, client


@contextlib.asynccontextmanager
async def worker(house: House, **secrets: str) -> AsyncIterator[PlayedWorker]:
    settings = Settings(database_url="", redis_url="", **{"secret": SECRET} | secrets)  # pyright: ignore[reportArgumentType]
    made = PlayedWorker(house.redis, settings.sealer("job"), settings.sealer("kept"))
    await made.listen()
    yield made
    await made.aclose()


async def ask(client: httpx.AsyncClient, key: str = "", **fields: Any) -> httpx.Response:
    headers = bearer(KEY) | ({"Idempotency-Key": key} if key else {})
    return await client.post(CHAT, json=body(user="kim@example.kr", **fields), headers=headers)


@pytest.mark.parametrize("secrets", [BEFORE, AFTER], ids=["worker before", "worker after"])
async def test_calls_are_answered_whoever_has_the_new_secret(
    house: House, ends: tuple[httpx.AsyncClient, httpx.AsyncClient], secrets: dict[str, str]
) -> None:
    users: set[str | None] = set()

    async def answered(client: httpx.AsyncClient, kept: bool) -> httpx.Response:
        call = asyncio.create_task(ask(client))
        taken: Taken = await doer.take()
        users.add(taken.job.user)
        await taken.end(kept_frame=kept)
        return await call

    async with worker(house, **secrets) as doer:
        for client in ends:
            for kept in (False, True):  # in the frame, and fetched from Redis
                response = await answered(client, kept)
                assert (response.status_code, response.content) == (200, answer("hi"))
    assert len(users) == 1, "an end user stays the same one"


async def test_what_was_answered_before_is_not_done_again_after(
    house: House, ends: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    for first, second in (ends, ends[::-1]):
        key = f"k-{first is ends[0]}"
        call = asyncio.create_task(ask(first, key, stream=True))
        taken = await house.worker.take()
        await taken.say("hel", "lo")
        await taken.end(micro=7)
        once, again = await call, await ask(second, key, stream=True)
        assert once.content == again.content == event("hel") + event("lo") + b"data: [DONE]\n\n"
        assert again.headers["idempotent-replayed"] == "true"
