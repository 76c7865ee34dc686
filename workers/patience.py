"""The time limit of many short waits, one after the other."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Patience:
    """A limit like `asyncio.timeout_at`, for waits that end within it nearly every time.

    A stream waits once for every token. Its timer is not set and cancelled for each of them: it stays where it is, and
    where it fires too early it is set to the limit that holds by then.

    `with patience.until(deadline): await ...` raises TimeoutError at `deadline` (loop time). One wait at a time.
    """

    __slots__ = ("_cancelling", "_deadline", "_late", "_loop", "_task", "_timer")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._late = False

    def until(self, deadline: float) -> Self:
        """The next wait ends by then."""
        self._deadline = deadline
        return self

    def close(self) -> None:
        """Stops the timer: nothing is left in the loop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        timer = self._timer
        if timer is None or timer.when() > self._deadline:
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._ring)
        return self

    def _ring(self) -> None:
        self._timer = None
        if self._task is None:
            return  # nobody waits now; the next wait sets the timer
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._ring)
            return
        self._late = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if not self._late:
            return
        self._late = False
        assert task is not None
        if task.uncancel() <= self._cancelling and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error
