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


class Queue:
    """Requests that wait for their turn.

    Args:
        most: how many may wait; one organisation may fill half of the places. Beyond that ``join`` raises ``Overloaded``.
        longest_s: where the first of an organisation has waited longer, so would the next, and ``join`` raises too.
    """

    def __init__(self, most: int, longest_s: float = math.inf) -> None:
        self._most = most
        self._longest_s = longest_s
        self._waiting: OrderedDict[str, deque[tuple[float, asyncio.Future[None]]]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def join(self, org: str) -> asyncio.Future[None]:
        """A place in the queue; the future is done when its turn has come."""
        own, now = self._waiting.get(org), time.monotonic()
        if self._count >= self._most:
            raise Overloaded()
        if own is not None and (len(own) >= math.ceil(self._most / 2) or now - own[0][0] > self._longest_s):
            raise Overloaded()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if own is None:
            self._waiting[org] = deque(((now, future),))
        else:
            own.append((now, future))
        self._count += 1
        return future

    def call(self) -> bool:
        """Lets the next one go on: the first of the organisation whose turn it is. False where nobody waits."""
        while self._waiting:
            org, own = self._waiting.popitem(last=False)
            _, future = own.popleft()
            self._count -= 1
            if own:
                self._waiting[org] = own  # at the end of the line
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
