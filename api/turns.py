"""Who goes first where many want the same: organisations in turn, however many requests one of them has waiting.

Everything here belongs to one event loop and takes no locks.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from api.errors import Overloaded

T = TypeVar("T")

LAG_WEIGHT = 0.3
"""Of the newest measurement: one long garbage collection is not yet an overload."""
LAG_FORGOTTEN_S = 1.0
"""A measurement says nothing about the loop a second later."""


PACE_FORGOTTEN_S, PACE_KNOWN_S = 2.0, 0.1
"""The pace of the last seconds counts, once there is a tenth of a second of it."""
MOST_REMEMBERED = 1_000
STANDING = 6
"""Where an organisation's requests have stood in line for as long as one may wait, only a sixth of that is waited: a
burst passes, and of a flood those who are let in do not all wait for the longest time."""


class _Waiting:
    """One organisation's requests: when each came, and since when there has always been one."""

    __slots__ = ("requests", "since")

    def __init__(self, now: float) -> None:
        self.requests: deque[tuple[float, asyncio.Future[None]]] = deque()
        self.since = now


class Queue:
    """Requests that wait for their turn.

    Args:
        most: how many may wait; one organisation may fill half of the places. Beyond that ``join`` raises ``Overloaded``.
        longest_s: who would wait longer is refused, too: by the age of the organisation's first, and by the pace at
            which those who wait have been called of late.
    """

    def __init__(self, most: int, longest_s: float = math.inf) -> None:
        self._most = most
        self._longest_s = longest_s
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._count = 0
        self._lately: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Organisations that have left the line: since when they stood there, and when they left. Who is back within the
        longest wait has not been away."""
        self._called, self._seconds, self._called_at = 0.0, 0.0, 0.0
        """Those who were called while others waited, how long that took, by and by forgotten; and when the last one was."""

    def __len__(self) -> int:
        return self._count

    def join(self, org: str) -> asyncio.Future[None]:
        """A place in the queue; the future is done when its turn has come."""
        own, now = self._waiting.get(org), time.monotonic()
        if self._count >= self._most:
            raise Overloaded()
        if own is None:
            since, left = self._lately.pop(org, (now, -math.inf))
            own = self._waiting[org] = _Waiting(since if now - left < self._longest_s else now)
        elif len(own.requests) >= math.ceil(self._most / 2) or self._expected(own, now) > self._patience(own, now):
            raise Overloaded()
        if not self._count:
            self._called_at = now
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        own.requests.append((now, future))
        self._count += 1
        return future

    def _expected(self, own: _Waiting, now: float) -> float:
        """How long the organisation's next one would wait, in seconds: never less than its first one has."""
        age = now - own.requests[0][0]
        if self._seconds < PACE_KNOWN_S:
            return age
        ahead = min(self._count, (len(own.requests) + 1) * len(self._waiting))
        return max(age, ahead * self._seconds / self._called)

    def _note_pace(self) -> None:
        now = time.monotonic()
        took, self._called_at = now - self._called_at, now
        kept = math.exp(-took / PACE_FORGOTTEN_S)
        self._called, self._seconds = self._called * kept + 1, self._seconds * kept + took

    def _patience(self, own: _Waiting, now: float) -> float:
        return self._longest_s if now - own.since <= self._longest_s else self._longest_s / STANDING

    def call(self) -> bool:
        """Lets the next one go on: the first of the organisation whose turn it is. False where nobody waits."""
        while self._waiting:
            org, own = self._waiting.popitem(last=False)
            _, future = own.requests.popleft()
            self._count -= 1
            self._note_pace()
            if own.requests:
                self._waiting[org] = own  # at the end of the line
            else:
                self._lately[org] = (own.since, self._called_at)
                if len(self._lately) > MOST_REMEMBERED:
                    self._lately.popitem(last=False)
            if not future.done():  # else it was cancelled
                future.set_result(None)
                return True
        return False


class Turnstile:
    """Orders requests that arrive at the same time, and measures how far the loop is behind.

    The first few of a loop tick pass at once and cost nothing; with more, each tick lets a few in, so that frames and
    probes go on between them, and one organisation's burst holds up nobody else's request.

    Args:
        per_tick: requests that pass in one tick of the loop.
        most: how many may wait.
        longest_s: and for how long.
    """

    def __init__(self, per_tick: int, most: int, longest_s: float = math.inf) -> None:
        self._per_tick = per_tick
        self._queue = Queue(most, longest_s)
        self._passed = 0
        self._began = 0.0
        self._lag = 0.0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def lag_s(self) -> float:
        """How long a tick of the loop takes, averaged over the last ones in which requests came."""
        return self._lag if time.monotonic() - self._began < LAG_FORGOTTEN_S else 0.0

    def pass_through(self, org: str) -> asyncio.Future[None] | None:
        """None: go on at once. Otherwise wait for the future. Raises ``Overloaded`` where too many wait."""
        if not self._passed:
            self._tick()
        if self._passed <= self._per_tick and not len(self._queue):
            self._passed += 1
            return None
        return self._queue.join(org)

    def _tick(self) -> None:
        self._passed = 1
        self._began = time.monotonic()
        asyncio.get_running_loop().call_soon(self._next_tick)

    def _next_tick(self) -> None:
        took = time.monotonic() - self._began
        self._lag += (took - self._lag) * LAG_WEIGHT
        self._passed = 0
        if len(self._queue):
            self._tick()
            while self._passed <= self._per_tick and self._queue.call():
                self._passed += 1


class Line:
    """Lets a few at a time do what is long, the others wait for their turn.

    Args:
        at_once: how many.
        most: how many may wait.
    """

    def __init__(self, at_once: int, most: int) -> None:
        self._free = at_once
        self._queue = Queue(most)

    def __len__(self) -> int:
        return len(self._queue)

    async def run(self, org: str, work: Callable[[], Awaitable[T]]) -> T:
        """Does the work when its turn has come. Raises ``Overloaded`` where too many wait, and what ``work`` raises."""
        if self._free:
            self._free -= 1
        else:
            turn = self._queue.join(org)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave()  # called in the very moment in which it was cancelled
                raise
        try:
            return await work()
        finally:
            self._leave()

    def _leave(self) -> None:
        if not self._queue.call():
            self._free += 1
