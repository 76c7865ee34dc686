"""The plain line: a call in, a job out, frames back."""

from __future__ import annotations

import asyncio

import pytest

from gateway.wire.frame import Final
from tests.api.conftest import House, an_identity
from tests.api.worker import answer, event

pytestmark = pytest.mark.anyio


async def test_a_json_call_is_answered_with_what_the_worker_sent(house: House) -> None:
    asked = asyncio.create_task(house.ask())
    taken = await house.worker.take()
    await taken.end(Final(200, answer("안녕하세요")))
    response = await asked
    assert response.status_code == 200
    assert response.content == answer("안녕하세요")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"] == taken.claim.job
    assert await house.window(an_identity()) == (0, 0)


async def test_a_stream_arrives_whole_and_in_order(house: House) -> None:
    async with asyncio.timeout(20):
        got = asyncio.create_task(_read(house))
        taken = await house.worker.take()
        await taken.say("a", "b", "c")
        await taken.end()
        status, headers, text = await got
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-request-id"] == taken.claim.job
    assert text == event("a") + event("b") + event("c") + b"data: [DONE]\n\n"


async def _read(house: House) -> tuple[int, dict[str, str], bytes]:
    async with house.streaming() as response:
        return response.status_code, dict(response.headers), await response.aread()
