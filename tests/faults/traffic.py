"""Mixed traffic from real HTTP clients, and their book: what each of them saw.

Streamed and not, short and long; some leave, some read slowly, some ask again with an Idempotency-Key. Every request
carries a tag of its own, in the text (so that the simulator notes it) and in `X-Title` (so that the ledger does): the
three books are compared by it, not by what the gateway calls its calls.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
import uvloop

from tests.provider.dialects.openai import answer_text

PATIENCE_S = 75.0
"""Whoever has no end by then is hung: three claims, their leases, and what a provider may take."""
MOST_TRIES = 40
SLOW_S = 8.0
"""For so long a slow reader hardly reads; what is still there then it takes at once."""
GONE_BY = (aiohttp.ClientError, OSError, msgspec.DecodeError)
_RETRIED = {409, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Want:
    """What one client wants. `leaves`: after so many tokens of a stream, or at once after asking for JSON."""

    tag: str
    kind: str
    stream: bool
    tokens: int
    delay_ms: int = 0
    pad: int = 0
    leaves: int = -1
    slow: bool = False
    key: str = ""
    cap: int = 0

    def body(self) -> dict[str, Any]:
        """The request. A cap is sent where a strict policy would otherwise hold a fortune."""
        words = f"tokens={self.tokens} delay={self.delay_ms}ms pad={self.pad} tag={self.tag} repeat=6"
        return {
            "model": "openai/gpt-4o",
            "messages": [{"role": "user", "content": f"Where is the harbour? [[mock {words}]]"}],
            **({"stream": True, "stream_options": {"include_usage": True}} if self.stream else {}),
            **({"max_tokens": self.cap} if self.cap else {}),
        }


@dataclass
class Seen:
    """One HTTP request as its client saw it. Times are Unix seconds."""

    want: Want
    org: int
    title: str
    sent_at: float
    ended_at: float = 0.0
    status: int = 0
    id: str = ""
    text: str = ""
    ended: bool = False
    error: dict[str, Any] | None = None
    charged: bool = False
    """An error that says itself that it was charged (`x-should-retry: false`)."""
    broken: str = ""
    left: bool = False
    hung: bool = False
    usage: dict[str, Any] | None = None

    @property
    def whole(self) -> bool:
        """Everything arrived, in order, and nothing twice."""
        return self.ended and self.error is None and self.text == answer_text(self.want.tokens, self.want.pad)

    @property
    def tokens(self) -> int:
        """How many tokens arrived."""
        return len(self.text) // (4 + self.want.pad)

    @property
    def outcome(self) -> str:
        """In one word; `silent` is the one that must never be: it looks finished, and is not whole."""
        for word in ("hung", "left", "whole", "broken"):
            if getattr(self, word):
                return word
        return "error" if self.error is not None else "silent"


MIXTURE: list[tuple[int, Callable[[random.Random], dict[str, Any]]]] = [
    (30, lambda r: {"kind": "stream short", "stream": True, "tokens": r.randint(1, 12)}),
    (14, lambda r: {"kind": "stream long", "stream": True, "tokens": r.randint(60, 200), "delay_ms": 15}),
    (26, lambda r: {"kind": "json short", "stream": False, "tokens": r.randint(1, 30)}),
    (8, lambda r: {"kind": "json long", "stream": False, "tokens": r.randint(40, 120), "delay_ms": 15}),
    (8, lambda r: {"kind": "stream left", "stream": True, "tokens": 400, "delay_ms": 15, "leaves": r.randint(0, 80)}),
    (4, lambda r: {"kind": "json left", "stream": False, "tokens": 100, "delay_ms": 20, "leaves": 0}),
    (1, lambda r: {"kind": "slow reader", "stream": True, "tokens": 900, "delay_ms": 2, "pad": 8000, "slow": True}),
    (6, lambda r: {"kind": "keyed stream", "stream": True, "tokens": r.randint(5, 60), "delay_ms": 10, "key": "k"}),
    (6, lambda r: {"kind": "keyed json", "stream": False, "tokens": r.randint(5, 60), "delay_ms": 10, "key": "k"}),
]  # fmt: skip  # a table


def _small_window(info: Any) -> socket.socket:
    """A socket that takes little at a time, so that a client that does not read is felt."""
    made = socket.socket(info[0], info[1], info[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    return made


@dataclass(frozen=True)
class Customer:
    """One organisation: its keys, and whether its holds are strict."""

    id: str
    keys: list[str]
    strict: bool = False


@dataclass
class Book:
    """What the clients saw, and who still waits."""

    seen: list[Seen] = field(default_factory=list[Seen])
    open: dict[str, Seen] = field(default_factory=dict[str, Seen])

    def served_since(self, moment: float) -> bool:
        """Whether somebody who asked after that moment has a whole answer."""
        return any(seen.sent_at >= moment and seen.outcome == "whole" for seen in self.seen[-200:])


class Traffic:
    """Callers in a thread, each asking for one thing after the other until `finish`."""

    def __init__(self, url: str, customers: list[Customer], callers: int, seed: int) -> None:
        self.book = Book()
        self._url, self._customers, self._callers, self._seed = url, customers, callers, seed
        self._run_id = f"r{seed:x}{int(time.time()) & 0xFFFFF:x}"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()), name="traffic", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def finish(self) -> Book:
        """Nothing new; waits for what is under way."""
        self._stopping.set()
        self._thread.join(2 * PATIENCE_S)
        assert not self._thread.is_alive(), f"callers still wait: {list(self.book.open)[:5]}"
        return self.book

    async def _run(self) -> None:
        await asyncio.gather(*(self._caller(number) for number in range(self._callers)))

    async def _caller(self, number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        org = number % len(self._customers)
        connector = aiohttp.TCPConnector(limit=0, force_close=number % 3 == 0)
        slow = aiohttp.TCPConnector(limit=0, force_close=True, socket_factory=_small_window)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            aiohttp.ClientSession(connector=slow, timeout=timeout, read_bufsize=4096) as sipping,
        ):
            turn = 0
            while not self._stopping.is_set():
                want = self._wanted(chance, f"{self._run_id}c{number}n{turn}", self._customers[org])
                await self._ask(sipping if want.slow else session, want, org, chance)
                turn += 1
                await asyncio.sleep(chance.uniform(0.0, 0.1))

    def _wanted(self, chance: random.Random, tag: str, customer: Customer) -> Want:
        ((_, make),) = chance.choices(MIXTURE, [weight for weight, _ in MIXTURE])
        made = make(chance)
        if made.get("key"):
            made["key"] = str(uuid.UUID(int=chance.getrandbits(128)))
        return Want(tag=tag, **made, cap=made["tokens"] if customer.strict else 0)

    async def _ask(self, session: aiohttp.ClientSession, want: Want, org: int, chance: random.Random) -> None:
        """Once; with an Idempotency-Key until there is an answer."""
        key = chance.choice(self._customers[org].keys)
        for number in range(MOST_TRIES if want.key else 1):
            seen = Seen(want, org, f"{want.tag}.{number}", time.time())
            self.book.open[seen.title] = seen
            await asyncio.sleep(0)  # the loop looks at its sockets: what was closed before `sent_at` is not asked
            await self._once(session, seen, key)
            seen.ended_at = time.time()
            del self.book.open[seen.title]
            self.book.seen.append(seen)
            code = (seen.error or {}).get("code")
            again = seen.broken or (seen.status in _RETRIED and code != "idempotency_answer_lost")
            if not again:
                return
            await asyncio.sleep(min(1.0, 0.1 * 2**number))

    async def _once(self, session: aiohttp.ClientSession, seen: Seen, key: str) -> None:
        headers = {"authorization": f"Bearer {key}", "x-title": seen.title}
        if seen.want.key:
            headers["idempotency-key"] = seen.want.key
        try:
            request = session.post(f"{self._url}/chat/completions", json=seen.want.body(), headers=headers)
            if seen.want.leaves >= 0 and not seen.want.stream:
                await asyncio.wait_for(_drop(request), 0.4)
            async with request as response:
                await _read(response, seen)
        except TimeoutError:
            seen.left, seen.hung = seen.want.leaves >= 0, seen.want.leaves < 0
        except GONE_BY as error:
            seen.broken = repr(error)[:200]


async def _drop(request: Any) -> None:
    """Waits for an answer for as long as the caller lets it; whoever is that quick is left all the same."""
    async with request:
        raise TimeoutError


async def _read(response: aiohttp.ClientResponse, seen: Seen) -> None:
    seen.status = response.status
    if response.status != 200:
        body = await response.read()
        seen.error = msgspec.json.decode(body).get("error", {})
        seen.charged = response.headers.get("x-should-retry") == "false"
    elif seen.want.stream:
        await _read_events(response, seen)
    else:
        answer = msgspec.json.decode(await response.read())
        seen.id, seen.usage, seen.ended = answer["id"], answer.get("usage"), True
        seen.text = answer["choices"][0]["message"]["content"]


async def _read_events(response: aiohttp.ClientResponse, seen: Seen) -> None:
    pieces: list[str] = []
    rest = b""
    count = 0
    try:
        while chunk := await (response.content.read(2048) if seen.want.slow else response.content.readany()):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                count += _event(line, seen, pieces)
            if 0 <= seen.want.leaves <= count:
                seen.left = True
                response.close()
                return
            if seen.want.slow and time.time() < seen.sent_at + SLOW_S:
                await asyncio.sleep(0.1)
    finally:
        seen.text = "".join(pieces)


def _event(line: bytes, seen: Seen, pieces: list[str]) -> int:
    """Takes one line in; how many tokens it brought."""
    if not line.startswith(b"data: "):
        return 0
    data = line[6:].strip()
    if data == b"[DONE]":
        seen.ended = True
        return 0
    event = msgspec.json.decode(data)
    if "error" in event:
        seen.error = event["error"]
        return 0
    seen.id = event["id"]
    seen.usage = event.get("usage") or seen.usage
    texts = [text for choice in event["choices"] if (text := choice["delta"].get("content"))]
    pieces.extend(texts)
    return len(texts)
