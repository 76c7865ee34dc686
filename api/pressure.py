"""What one api process takes on: calls, bytes of bodies, long work. Beyond it a call is refused before it costs anything.

One organisation may take half of everything, so that its flood leaves room for the others. The limits and their reasons
are the settings'; what waits for workers is limited in Redis, for all processes together (``gateway.credit``).
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from api import metrics
from api.errors import Overloaded
from api.seen import Seen
from api.turns import Line, Turnstile
from gateway.guardrails.body import OFF_LOOP_BYTES
from gateway.settings import Settings

T = TypeVar("T")

CLOSED_S = 0.05
"""A twentieth of the shortest queue that is refused: whoever comes meanwhile would be refused as well."""
MOST_CLOSED = 10_000
LEAST_PAUSE_S = 1.0
"""After a refusal for overload: SDKs that came back sooner would find nothing changed."""
PER_TICK = 8
"""Calls that are read, checked and placed in one tick of the loop: some three milliseconds, which frames can wait."""


class Pressure:
    """The room that one api process has.

    Args:
        settings: its limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._most_calls = settings.most_calls
        self._most_bytes = settings.most_body_bytes
        self._most_lag_s = settings.most_lag_s
        self._turnstile = Turnstile(PER_TICK, settings.most_arriving, settings.arriving_wait_s)
        self._long = Line(settings.long_at_once, settings.most_long)
        self._calls: Counter[str] = Counter()
        self._open = 0
        self._bytes: Counter[str] = Counter()
        self._held = 0
        self.closed: dict[str, tuple[float, float]] = {}
        """Organisations whose calls are refused without being looked at: until when, and what they are told to wait."""

    @property
    def open(self) -> int:
        """Calls under way."""
        return self._open

    @property
    def held_bytes(self) -> int:
        """Bytes of bodies in memory."""
        return self._held

    async def take_in(self, org: str, notes: Seen, body: Callable[[Callable[[int], None]], Awaitable[bytes]]) -> bytes:
        """Counts a call in, waits for its turn where many arrive at once, and reads its body.

        What is counted stands in ``notes``; ``put_down`` and ``leave`` give it back. Raises ``Overloaded``, and
        what ``body`` raises.
        """
        if self._open >= self._most_calls or self._calls[org] * 2 >= self._most_calls:
            raise refused("calls")
        if self._turnstile.lag_s > self._most_lag_s:
            self.close(org, 0.0)
            raise refused("lag")
        self._open += 1
        self._calls[org] += 1
        notes.counted = True
        try:
            turn = self._turnstile.pass_through(org)
        except Overloaded:
            self.close(org, 0.0)
            raise refused("arriving") from None
        if turn is not None:
            metrics.TURNS.inc()
            await turn
        return await body(lambda size: self._hold(org, notes, size))

    def close(self, org: str, wait_s: float) -> None:
        """An organisation's calls are refused for a moment without being looked at: one has just been refused because too
        many wait, and for the next within that time it would be no different. ``wait_s``: what that one was told to wait."""
        if len(self.closed) >= MOST_CLOSED:
            self.closed.clear()
        self.closed[org] = (time.monotonic() + CLOSED_S, wait_s)

    def let_in(self, org: str) -> None:
        """Raises ``Overloaded`` where the organisation is closed."""
        until, wait_s = self.closed.get(org, (0.0, 0.0))
        if until > time.monotonic():
            raise refused("closed", wait_s)
        self.closed.pop(org, None)

    async def long(self, org: str, size: int, work: Callable[[], Awaitable[T]]) -> T:
        """Does ``work`` on a body of ``size`` bytes: at once where that is short, else in turn with the others' long ones.

        Raises ``Overloaded``, and what ``work`` raises.
        """
        if size <= OFF_LOOP_BYTES:
            return await work()
        try:
            return await self._long.run(org, work)
        except Overloaded:
            raise refused("long") from None

    def put_down(self, notes: Seen) -> None:
        """The body is not needed any more."""
        if notes.held:
            self._held -= notes.held
            self._give_back(self._bytes, notes.org, notes.held)
            notes.held = 0

    def leave(self, notes: Seen) -> None:
        """The call has ended, however it did."""
        self.put_down(notes)
        if notes.counted:
            notes.counted = False
            self._open -= 1
            self._give_back(self._calls, notes.org, 1)

    def _hold(self, org: str, notes: Seen, size: int) -> None:
        """Makes the call's share of the bytes as large as ``size``."""
        more = size - notes.held
        if more <= 0:
            return
        if self._held + more > self._most_bytes or (self._bytes[org] + more) * 2 > self._most_bytes:
            raise refused("bytes")
        self._held += more
        self._bytes[org] += more
        notes.held = size

    @staticmethod
    def _give_back(counts: Counter[str], org: str, amount: int) -> None:
        left = counts[org] - amount
        if left > 0:
            counts[org] = left
        else:
            del counts[org]


def refused(what: str, wait_s: float = 0.0) -> Overloaded:
    """The refusal, counted."""
    metrics.REFUSALS.labels(what).inc()
    return overloaded(wait_s)


def overloaded(wait_s: float) -> Overloaded:
    """The refusal of somebody who would do well to wait so long. Spread, so that those refused together do not come back
    together."""
    return Overloaded(retry_after_s=max(LEAST_PAUSE_S, wait_s) * random.uniform(1, 1.5))  # noqa: S311 no secret


def measured(pressure: Pressure) -> None:
    """Lets Prometheus read the process's pressure when it asks, and not before."""
    metrics.CALLS.set_function(lambda: pressure.open)
    metrics.BODY_BYTES.set_function(lambda: pressure.held_bytes)
