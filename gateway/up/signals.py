"""Signals as something to wait for: requests to stop, and the deaths of children."""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self


class StopRequested(BaseException):
    """SIGINT, SIGTERM or SIGHUP during the start. Not an Exception: no handler on the way may swallow it."""


class Signals:
    """While it is entered, from the main thread, it holds the handlers; on leaving it puts the earlier ones back.

    stops: how often a stop was asked for. restart: whether SIGUSR1 asked for one; whoever sees to it sets it back.
    interrupt: whether the first one raises StopRequested where it arrives,
    which is right while a start waits here and there, and wrong in the midst of stopping.
    """

    def __init__(self) -> None:
        self.stops = 0
        self.restart = False
        self.interrupt = True
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._earlier_wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._take(number, self._on_stop)
        self._take(signal.SIGUSR1, self._on_restart)
        self._take(signal.SIGCHLD, lambda _number, _frame: None)  # a handler makes it wake us
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _t: TracebackType | None
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._earlier_wakeup)
        self._reader.close()
        self._writer.close()

    def wait(self, seconds: float | None) -> None:
        """Return at the next signal, a child's death included, or after `seconds`; None waits for a signal alone."""
        readable, _, _ = select.select([self._reader], [], [], seconds)
        if readable:
            self._reader.recv(4096)

    def _take(self, number: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> None:
        self._earlier[number] = signal.signal(number, handler)

    def _on_restart(self, _number: int, _frame: FrameType | None) -> None:
        self.restart = True

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stops += 1
        if self.interrupt:
            self.interrupt = False
            raise StopRequested
