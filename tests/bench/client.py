"""The load client: a process of its own, a raw socket for each concurrent caller, one slice of load per line of stdin.

A slice is a `Slice` as JSON; the answer is a `Result` as one line of JSON.
"""

import asyncio
import sys
import time
from collections import Counter, deque
from typing import cast
from urllib.parse import urlsplit

import httptools
import msgspec
import uvloop

from tests.provider.dialects.openai import token_text

_HURRY_SECONDS = 20.0
"""After its time a slice waits this long for answers that are still open."""


_TAIL_BYTES = 1500
"""The end of an answer that is kept: its last token, the finish chunk and `[DONE]` fit."""


_PAGE = "The third clause of this contract concerns the delivery of goods. "


class Slice(msgspec.Struct):
    """What to send. A slice ends when `count` requests are answered or `seconds` have passed, whichever is first."""

    base_url: str
    key: str
    model: str = "openai/gpt-4o"
    stream: bool = False
    behaviour: str = "tokens=16"
    """Words for the mock (tests/provider/behaviour.py), carried in the message."""
    tokens: int = 16
    """What those words make it answer: a shorter answer counts as an error."""
    prompt_kb: int = 0
    """Kilobytes of a document before the question."""
    concurrency: int = 1
    count: int = 1000
    seconds: float = 2.0
    rate: float = 0.0
    """Requests started per second, whatever the answers do; 0: each caller starts its next when one ends."""


class Result(msgspec.Struct):
    requests: int = 0
    errors: dict[str, int] = msgspec.field(default_factory=dict)
    seconds: float = 0.0
    chunks: int = 0
    latency_ms: list[float] = msgspec.field(default_factory=list)
    first_ms: list[float] = msgspec.field(default_factory=list)
    """From the request's last byte to the answer's first: streamed answers only."""
    refused_ms: list[float] = msgspec.field(default_factory=list)
    """Of answers with 429 and 503."""


class _Caller(asyncio.Protocol):
    """One connection that sends the same request again and again."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._begun = 0.0
        self._first = 0.0
        self._events = 0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        assert self._transport
        self._first, self._events, self._tail = 0.0, 0, b""
        self._begun = time.perf_counter()
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._load.failed(self, f"http: {error}")

    def on_body(self, body: bytes) -> None:
        if self._first == 0.0:
            self._first = time.perf_counter()
        if self._load.slice.stream:
            joined = self._tail[-5:] + body  # an event's first bytes may be split over two reads
            self._events += joined.count(b"data: {")
        self._tail = (self._tail + body)[-_TAIL_BYTES:]

    def on_message_complete(self) -> None:
        load, now = self._load, time.perf_counter()
        status = self._parser.get_status_code()
        whole = self._complete() if status == 200 else False
        load.answered(self, None if whole else f"status {status}" if status != 200 else "incomplete answer")
        if status in (429, 503):
            load.refused(now - self._begun)
        if whole:
            load.measured(now - self._begun, self._first - self._begun, self._events)
        self._parser = httptools.HttpResponseParser(self)

    def _complete(self) -> bool:
        if self._load.slice.stream:
            return b"data: [DONE]" in self._tail and self._load.last_token in self._tail
        return b'"completion_tokens":%d' % self._load.slice.tokens in self._tail.replace(b": ", b":")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._load.failed(self, "connection lost")

    def close(self) -> None:
        if self._transport:
            self._transport.close()


class _Load:
    """One slice under way."""

    def __init__(self, what: Slice) -> None:
        self.slice = what
        self.request = _request(what)
        self.last_token = f'"{token_text(what.tokens - 1)}"'.encode()
        self._loop = asyncio.get_running_loop()
        self._busy: set[_Caller] = set()
        self._idle: deque[_Caller] = deque()
        self._errors: Counter[str] = Counter()
        self._result = Result()
        self._started = 0
        self._over = False
        self._done = self._loop.create_future()

    async def run(self) -> Result:
        where = urlsplit(self.slice.base_url)
        for _ in range(self.slice.concurrency):
            _, caller = await self._loop.create_connection(lambda: _Caller(self), str(where.hostname), where.port or 80)
            self._idle.append(caller)
        callers = list(self._idle)
        begun = time.perf_counter()
        timer = self._loop.call_later(self.slice.seconds, self._stop)
        if self.slice.rate:
            self._loop.call_soon(self._tick, begun)
        else:
            for _ in callers:
                self._next()
        try:
            await asyncio.wait_for(self._done, self.slice.seconds + _HURRY_SECONDS)
        except TimeoutError:
            self._errors["no answer"] += len(self._busy)
        timer.cancel()
        self._over = True
        self._result.seconds = time.perf_counter() - begun
        for caller in callers:
            caller.close()
        self._result.errors = dict(self._errors)
        return self._result

    def _stop(self) -> None:
        self._over = True
        self._finish_when_idle()

    def _finish_when_idle(self) -> None:
        if not self._busy and not self._done.done():
            self._done.set_result(None)

    def _next(self) -> None:
        if self._over or self._started >= self.slice.count or not self._idle:
            self._over = self._over or self._started >= self.slice.count
            if self._over:
                self._finish_when_idle()
            return
        self._started += 1
        caller = self._idle.popleft()
        self._busy.add(caller)
        caller.send()

    def _tick(self, begun: float) -> None:
        """Open loop: starts what is due by now; a caller short is an error, not a pause."""
        due = int((time.perf_counter() - begun) * self.slice.rate) + 1
        while self._started < min(due, self.slice.count) and not self._over:
            if not self._idle:
                self._errors["all callers busy"] += 1
                self._started += 1
                continue
            self._next()
        if self._started < self.slice.count and not self._over:
            self._loop.call_later(1 / self.slice.rate, self._tick, begun)
        else:
            self._over = True
            self._finish_when_idle()

    def answered(self, caller: _Caller, error: str | None) -> None:
        self._busy.discard(caller)
        if error:
            self._errors[error] += 1
        self._idle.append(caller)
        if not self.slice.rate:
            self._loop.call_soon(self._next)
        elif self._over:
            self._finish_when_idle()

    def failed(self, caller: _Caller, error: str) -> None:
        """The connection is of no more use."""
        if caller in self._busy:
            self._busy.discard(caller)
            self._errors[error] += 1
        if caller in self._idle:
            self._idle.remove(caller)
        if self._over or not (self._idle or self._busy):
            self._over = True
            self._finish_when_idle()

    def refused(self, whole: float) -> None:
        self._result.refused_ms.append(round(whole * 1000, 3))

    def measured(self, whole: float, first: float, events: int) -> None:
        result = self._result
        result.requests += 1
        result.latency_ms.append(round(whole * 1000, 3))
        if self.slice.stream:
            result.first_ms.append(round(first * 1000, 3))
            result.chunks += events


def _request(what: Slice) -> bytes:
    document = _PAGE * (what.prompt_kb * 1024 // len(_PAGE))
    text = f"{document}How many steps is it from here to the market? [[mock {what.behaviour}]]"
    body = {"model": what.model, "messages": [{"role": "user", "content": text}]}
    if what.stream:
        body["stream"] = True
    where = urlsplit(what.base_url)
    encoded = msgspec.json.encode(body)
    head = (
        f"POST {where.path}/chat/completions HTTP/1.1\r\nhost: {where.netloc}\r\nauthorization: Bearer {what.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(encoded)}\r\n\r\n"
    )
    return head.encode() + encoded


def main() -> None:
    """Answers slices until stdin ends."""
    for line in sys.stdin.buffer:
        what = msgspec.json.decode(line, type=Slice)

        async def run(what: Slice = what) -> Result:
            return await _Load(what).run()

        sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(run())) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
