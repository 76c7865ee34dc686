"""Every process replaced, one after another, under load: no request fails, streams finish, the books agree.

Three kinds of clients on the one port: with a connection for each call and no second try; with connections that are
kept and what every SDK does where one of them was closed; and streams that last through it.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import openai
import pytest
import uvloop

from tests.faults.conftest import Scene
from tests.faults.load import Ask, Outcome, call


class Clients:
    """Callers that go on until they are told to stop; what each of them got."""

    def __init__(self, scene: Scene, asks: list[Ask]) -> None:
        self.outcomes: list[Outcome] = []
        self.sdk_failures: list[str] = []
        self.sdk_answers = 0
        self._scene, self._asks = scene, asks
        self._stopping = threading.Event()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()), daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._begun.wait(60), "no call was answered"

    def finish(self) -> None:
        self._stopping.set()
        self._thread.join(100)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as session:
            await asyncio.gather(*(self._plain(session, turn) for turn in range(6)), *(self._sdk() for _ in range(2)))

    async def _plain(self, session: aiohttp.ClientSession, turn: int) -> None:
        while not self._stopping.is_set():
            ask = self._asks[turn % len(self._asks)]
            turn += 1
            self.outcomes.append(await call(session, self._scene.url, self._scene.key, ask))
            self._begun.set()

    async def _sdk(self) -> None:
        async with openai.AsyncOpenAI(base_url=self._scene.url, api_key=self._scene.key, timeout=60) as client:
            while not self._stopping.is_set():
                try:
                    answer: Any = await client.chat.completions.create(
                        model="openai/gpt-4o", messages=[{"role": "user", "content": "Where? [[mock tokens=4]]"}]
                    )
                    assert answer.choices[0].message.content
                    self.sdk_answers += 1
                except openai.OpenAIError as error:
                    self.sdk_failures.append(repr(error))


@contextmanager
def clients(scene: Scene, asks: list[Ask]) -> Iterator[Clients]:
    made = Clients(scene, asks)
    try:
        made.start()
        yield made
    finally:
        made.finish()


@pytest.mark.timeout(300)  # five processes start, one after another, on a machine that is busy with the calls
def test_a_rolling_restart_of_everything_fails_no_request(scene: Scene) -> None:
    before = {role: scene.installation.pids(role) for role in ("api", "worker", "billing")}
    asks = [Ask(False, 12), Ask(True, 12), Ask(True, 40, "delay=30ms")]
    with clients(scene, asks) as running:
        scene.installation.run("restart", "all")
    after = {role: scene.installation.pids(role) for role in before}
    assert not any(set(before[role]) & set(after[role]) for role in before), "all of them are new"
    assert [outcome for outcome in running.outcomes if not outcome.whole] == []
    assert running.sdk_failures == []
    assert running.sdk_answers > 0 and len(running.outcomes) > len(asks)
    scene.at_rest()
    rows = scene.rows()
    assert len(rows) == len(running.outcomes) + running.sdk_answers, "each answer is booked once"
