"""When keys were last used: gathered in memory, written down every few seconds for many keys at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from api.background_writer import BackgroundWriter
from api.sources import SourceAway

PAUSE_S = 10.0
"""A person looks at days; a row written per call would cost more than the call."""
FIRST_S = 0.5
"""A key's first use in this process is written at once: who has just tried a new key looks whether it was used, and
what a process that is killed has not written yet is gone."""
MOST_KNOWN = 100_000
"""Keys remembered as written once; beyond it the memory begins anew."""

Write = Callable[[dict[str, int]], Awaitable[None]]

log = structlog.get_logger()


class LastUsed(BackgroundWriter):
    """Notes and writes.

    Args:
        write: takes key id -> milliseconds since 1970; raises ``SourceAway`` where PostgreSQL is away.
        pause_s: between two writes.
        first_s: how long a first use may wait for others.
    """

    def __init__(self, write: Write, pause_s: float = PAUSE_S, first_s: float = FIRST_S) -> None:
        self._write = write
        super().__init__(pause_s)
        self._first_s = first_s
        self._used: dict[str, int] = {}
        self._known: set[str] = set()
        self._first = asyncio.Event()

    def note(self, key_id: str, at_ms: int) -> None:
        """A key was used."""
        self._used[key_id] = at_ms
        if key_id not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known.add(key_id)
            self._first.set()

    async def flush(self) -> None:
        """Writes what was noted. While PostgreSQL is away it is kept: one number a key."""
        if not self._used:
            return
        used, self._used = self._used, {}
        try:
            await self._write(used)
        except SourceAway as exc:
            log.warning("last_used_waits", keys=len(used), reason=str(exc))
            self._used = {**used, **self._used}

    async def pause(self) -> None:
        """Until the next turn is due, or a key is used for the first time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._first.wait(), self._pause_s)
            await asyncio.sleep(self._first_s)
        self._first.clear()
