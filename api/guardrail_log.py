"""What the guardrails did to whose calls, for the organisation's audit: gathered in memory, written many at a time.

Kinds and counts only; no original and no word. A request never waits for it. While PostgreSQL is away events wait up
to ``MOST``; what comes beyond is counted and said in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from api import metrics
from api.background_writer import BackgroundWriter
from api.sources import SourceAway
from gateway.accounts.guardrail_events import Event, Outcome, Place

PAUSE_S = 1.0
"""An owner who looks after a refusal shall find it."""
MOST = 20_000
"""Events that wait: some 10 MB, a minute of a busy process."""
BATCH = 1_000
"""Rows of one statement."""

Write = Callable[[Sequence[Event]], Awaitable[None]]

log = structlog.get_logger()


class GuardrailLog(BackgroundWriter):
    """Notes and writes.

    Args:
        write: writes a batch; raises ``SourceAway`` where PostgreSQL is away. None: nothing is kept (tests).
        pause_s: between two writes.
    """

    def __init__(self, write: Write | None, pause_s: float = PAUSE_S) -> None:
        self._write = write
        super().__init__(pause_s)
        self._waiting: list[Event] = []
        self._lost = 0

    def note(self, org: str, key: str, call: str, outcome: Outcome, place: Place, kinds: Mapping[str, int]) -> None:
        """Something was masked in a call or refused. ``call``: the job's id; empty where there is none."""
        if self._write is None:
            return
        if len(self._waiting) >= MOST:
            self._lost += 1
            metrics.GUARDRAIL_EVENTS_LOST.inc()
            return
        self._waiting.append(Event(int(time.time() * 1000), org, key, call, outcome, place, dict(kinds)))

    async def flush(self) -> None:
        """Writes what was noted; what could not be written waits."""
        while self._waiting and self._write is not None:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            try:
                await self._write(batch)
            except SourceAway as exc:
                self._waiting = batch + self._waiting
                log.warning("guardrail_events_wait", events=len(self._waiting), reason=str(exc))
                return
            except asyncio.CancelledError:
                self._waiting = batch + self._waiting  # the end of the process writes them; twice is better than never
                raise
        if self._lost:
            log.error("guardrail_events_lost", events=self._lost)
            self._lost = 0
