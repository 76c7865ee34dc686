"""A worker that is awake is called on its own channel: it takes what waits, or lets another one know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.wire import keys
from tests.provider.dialects.openai import answer_text
from tests.provider.server import Provider
from tests.workers.line import Line, chat, deployment, started
from workers.calls import CallWorker

pytestmark = pytest.mark.anyio

PLACES = 40
"""More than two takes reserve before they know how many jobs there are."""


class Places:
    """A pool's places, counted."""

    def __init__(self, free: int) -> None:
        self.free = free

    def reserve(self, most: int) -> int:
        taken = max(0, min(most, self.free))
        self.free -= taken
        return taken

    def release(self, places: int) -> None:
        self.free += places


@pytest.fixture
async def worker(line: Line, provider: Provider) -> AsyncIterator[CallWorker]:
    """A worker that has taken a job, with its places; it stays awake for as long as the test lasts."""
    made = await started(line, [deployment(provider.base_url)])
    made.places = places = Places(PLACES)
    await line.place(chat("[[mock tokens=1]]"))
    assert places.reserve(1)
    await made.take(places)
    places.release(1)
    assert places.free == PLACES
    line.client.delete(keys.CALL_QUEUE)
    assert line.client.zscore(keys.AWAKE, made.id)
    line.client.zadd(keys.AWAKE, {made.id: 9e15})
    yield made
    await made.drain(5)
    await made.close()


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 Redis tells nobody
            await asyncio.sleep(0.005)


async def test_hears_of_jobs_without_a_message(line: Line, worker: CallWorker) -> None:
    places = worker.places
    assert isinstance(places, Places)
    for _ in range(6):
        line.client.zadd(keys.AWAKE, {worker.id: 9e15})  # with each take it says anew how long it is
        job = await line.place(chat("[[mock tokens=3]]", stream=True))
        assert (await line.ended(job)).content() == answer_text(3)
        await soon(lambda: places.free == PLACES)
    assert line.client.llen(keys.CALL_QUEUE) == 0


async def test_without_a_place_it_passes_the_call_on(line: Line, worker: CallWorker) -> None:
    assert worker.places is not None
    worker.places.reserve(PLACES)
    await line.place(chat("[[mock tokens=3]]"))
    await soon(lambda: line.client.llen(keys.CALL_QUEUE) == 1)
    assert line.client.zcard(keys.AWAKE) == 0


async def test_the_background_never_has_all_places_and_comes_in_as_its_own_ends(line: Line, provider: Provider) -> None:
    worker = await started(line, [deployment(provider.base_url)], worker_calls=4)
    worker.places = places = Places(PLACES)
    provider.gate.close()
    behind = [await line.place(chat("[[mock tokens=2 gate=0]]"), background=True) for _ in range(7)]
    assert places.reserve(1)
    taking = asyncio.create_task(worker.take(places))
    await soon(lambda: provider.gate.waiting == 3)
    line.client.zadd(keys.AWAKE, {worker.id: 9e15})
    first = await line.place(chat("[[mock tokens=3]]", stream=True))
    assert (await line.ended(first)).content() == answer_text(3)
    assert provider.gate.waiting == 3
    assert line.client.get(keys.DEFERRED) == b"4"
    provider.gate.open()
    for job in behind:
        final = (await line.ended(job)).final
        assert final is not None
        assert final.status == 200
    await taking
    places.release(1)
    await soon(lambda: places.free == PLACES)
    await worker.drain(5)
    await worker.close()


async def test_while_it_ends_it_passes_the_call_on_and_is_not_called_again(line: Line, worker: CallWorker) -> None:
    await worker.drain(5)
    await soon(lambda: line.client.zcard(keys.AWAKE) == 0)  # a drain does not wait for long until others are called
    line.client.zadd(keys.AWAKE, {worker.id: 9e15})  # a call that was on its way
    await line.place(chat("[[mock tokens=3]]"))
    await soon(lambda: line.client.llen(keys.CALL_QUEUE) == 1)
    assert line.client.zcard(keys.AWAKE) == 0
