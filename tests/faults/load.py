"""Callers in the background, and what each of them got: the clients' book."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
import uvloop

from tests.provider.dialects.openai import answer_text

PATIENCE_S = 100.0
"""Whoever has no end by then gives up."""


@dataclass(frozen=True)
class Ask:
    """One kind of call."""

    stream: bool = True
    tokens: int = 40
    behaviour: str = "delay=20ms"
    """Further words for the mock, see tests/provider/behaviour.py."""
    text: str = "Where is the harbour?"
    model: str = "openai/gpt-4o"
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    title: str = "faults"

    def body(self) -> dict[str, Any]:
        content = f"{self.text} [[mock tokens={self.tokens} {self.behaviour}]]"
        streamed = {"stream": True, "stream_options": {"include_usage": True}} if self.stream else {}
        return {"model": self.model, "messages": [{"role": "user", "content": content}], **streamed, **self.options}


@dataclass
class Outcome:
    """What one caller got. `whole` is the judgement: everything arrived, and it was the right text."""

    ask: Ask
    status: int = 0
    id: str = ""
    text: str = ""
    ended: bool = False
    """`[DONE]`, or a JSON body that could be read."""
    error: dict[str, Any] | None = None
    """An error that the gateway told explicitly, by status or by event."""
    broken: str = ""
    """The connection ended instead of the answer."""
    usage: dict[str, Any] | None = None
    retry_after_s: float = 0.0
    """When a refusal says that it is worth asking again."""

    @property
    def whole(self) -> bool:
        return self.ended and self.error is None and self.text == answer_text(self.ask.tokens)

    @property
    def silent(self) -> bool:
        """The worst case: it looks finished, or simply stops, and nobody said that it is not whole."""
        return not self.whole and self.error is None and not self.broken


async def call(session: aiohttp.ClientSession, url: str, key: str, ask: Ask) -> Outcome:
    """Makes one call and reads its answer to the end. Never raises for what the gateway does."""
    outcome = Outcome(ask)
    headers = {"authorization": f"Bearer {key}", "x-title": ask.title}
    try:
        async with session.post(f"{url}/chat/completions", json=ask.body(), headers=headers) as response:
            outcome.status = response.status
            if response.status != 200:
                outcome.error = msgspec.json.decode(await response.read())["error"]
                outcome.retry_after_s = float(response.headers.get("retry-after", 0))
            elif ask.stream:
                await _read_events(response, outcome)
            else:
                _read_json(await response.read(), outcome)
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, OSError) as error:
        outcome.broken = repr(error)
    return outcome


async def _read_events(response: aiohttp.ClientResponse, outcome: Outcome) -> None:
    async for line in response.content:
        if not line.startswith(b"data: "):
            continue
        data = line[6:].strip()
        if data == b"[DONE]":
            outcome.ended = True
            continue
        event = msgspec.json.decode(data)
        if "error" in event:
            outcome.error = event["error"]
            continue
        outcome.id = event["id"]
        outcome.usage = event.get("usage") or outcome.usage
        for choice in event["choices"]:
            outcome.text += choice["delta"].get("content") or ""


def _read_json(body: bytes, outcome: Outcome) -> None:
    answer = msgspec.json.decode(body)
    outcome.id, outcome.usage, outcome.ended = answer["id"], answer.get("usage"), True
    outcome.text = answer["choices"][0]["message"]["content"]


class Load:
    """Callers that ask again as soon as they are answered, until they are told to stop; or once each.

    The patient ask again when they are told to come later, as SDKs do: how large a burst is let in depends on the machine.
    """

    def __init__(self, url: str, key: str, asks: list[Ask], concurrency: int, once: bool, patient: bool) -> None:
        self.outcomes: list[Outcome] = []
        self._url, self._key, self._asks, self._concurrency = url, key, asks, concurrency
        self._once, self._patient = once, patient
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()), name="load", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_for_outcomes(self, count: int, seconds: float = 60.0) -> None:
        """Blocks until so many callers have their answer; AssertionError after `seconds`."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.outcomes) >= count, seconds)
        assert came, f"{len(self.outcomes)} of {count} answers after {seconds:g} s"

    def finish(self, seconds: float = PATIENCE_S + 20) -> list[Outcome]:
        """No further calls; waits for those under way, and returns everything that the callers got."""
        self._stopping.set()
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"callers still wait for answers after {seconds:g} s"
        return self.outcomes

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(self._caller(session, number) for number in range(self._concurrency)))

    async def _caller(self, session: aiohttp.ClientSession, number: int) -> None:
        turn = number
        while not self._stopping.is_set():
            outcome = await call(session, self._url, self._key, self._asks[turn % len(self._asks)])
            if self._patient and outcome.status == 503 and outcome.retry_after_s:
                await asyncio.sleep(outcome.retry_after_s)
                continue
            turn += 1
            with self._changed:
                self.outcomes.append(outcome)
                self._changed.notify_all()
            if self._once:
                return
            if outcome.broken:
                await asyncio.sleep(0.05)  # as any client: not at full speed against a closed door


@contextmanager
def load(
    url: str, key: str, asks: list[Ask], concurrency: int, *, once: bool = False, patient: bool = False
) -> Iterator[Load]:
    """Starts the callers; they are stopped at the end whatever happens."""
    running = Load(url, key, asks, concurrency, once, patient)
    running.start()
    try:
        yield running
    finally:
        running.finish()
