"""What a process notes in memory and writes down every so often, beside the requests and never in their way."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod

import structlog

log = structlog.get_logger()


class BackgroundWriter(ABC):
    """Writes in turns until it is closed. A subclass says what: ``flush``; and may say when: ``pause``.

    Args:
        pause_s: between two turns.
    """

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def flush(self) -> None:
        """Writes what was noted, and keeps what could not be written."""

    async def pause(self) -> None:
        """Waits for the next turn."""
        await asyncio.sleep(self._pause_s)

    def start(self) -> None:
        """Begins to write."""
        self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Writes what is left and ends."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.flush()

    async def _run(self) -> None:
        while True:
            await self.pause()
            try:
                await self.flush()
            except Exception:  # what one write trips over must not end all later ones
                log.exception("not_written", writer=type(self).__name__)
