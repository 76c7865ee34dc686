"""An asyncio pool for Celery: all calls of a worker are coroutines of one event loop, in a thread of their own.

Celery's documented hook for pools from outside (`CELERY_CUSTOM_WORKER_POOL`, `-P custom`) takes this class. Celery's
tracer runs unchanged in the loop's thread; the task's body is an ordinary function that hands the pool a coroutine
with `adopt`, and the task counts as finished when the coroutine is.

Messages beyond the limit of open calls are not accepted, so Celery does not acknowledge them and its prefetch stops
reading the queue, which other workers then empty.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# Celery comes without types.

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from time import monotonic
from typing import Any, ClassVar, Protocol

import structlog
import uvloop
from celery.concurrency.base import BasePool

log = structlog.get_logger("workers.pool")

SWITCH_INTERVAL_S = 0.0002
"""Two threads share the interpreter: with the default of 5 ms a lone request waits for it longer than for Redis."""
START_S = 30.0


class Lifespan(Protocol):
    """What lives in the loop beside the calls."""

    def __call__(self) -> AbstractAsyncContextManager[None]:
        """Entered before the first call, left after the last."""
        ...


class _Waiting:
    """One message that Celery gave us."""

    __slots__ = ("accept", "args", "callback", "kwargs", "target")

    def __init__(
        self,
        target: Callable[..., Any],
        args: Any,
        kwargs: Any,
        callback: Callable[..., Any] | None,
        accept: Callable[..., Any] | None,
    ) -> None:
        self.target = target
        self.args = args
        self.kwargs = kwargs
        self.callback = callback
        self.accept = accept


_adopted: list[Coroutine[Any, Any, None]] = []
"""Coroutines handed over by the task body that runs right now; the loop's thread alone touches it."""


def adopt(work: Coroutine[Any, Any, None]) -> None:
    """Called by a task's body: the pool runs the coroutine, and the task lasts as long as it does."""
    _adopted.append(work)


class AsyncPool(BasePool):
    """See the module's text. `limit` is how many calls may be open at once.

    Class attributes are set before the worker starts: `open_calls` (the limit; Celery's own concurrency only sets
    how far it reads ahead), `lifespan`, and `drain_s` for a warm shutdown.
    """

    signal_safe = False
    body_can_be_buffer = True
    uses_semaphore = False

    open_calls: ClassVar[int] = 1_000
    drain_s: ClassVar[float] = 30.0
    lifespan: ClassVar[Lifespan | None] = None
    current: ClassVar[AsyncPool | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="calls", daemon=True)
        self._started = threading.Event()
        self._failed: BaseException | None = None
        self._stopping: asyncio.Event | None = None
        self._lock = threading.Lock()
        self._open = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._incoming: deque[_Waiting] = deque()
        self._refused: deque[_Waiting] = deque()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    # -- Celery's side: the consumer's thread

    def on_start(self) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        AsyncPool.current = self
        self._thread.start()
        if not self._started.wait(START_S):
            raise RuntimeError("the event loop did not start")
        if self._failed is not None:
            raise RuntimeError("the event loop failed to start") from self._failed

    def register_with_event_loop(self, loop: Any) -> None:
        """A freed place wakes the consumer, which may then accept what it had to refuse."""
        loop.add_reader(self._wake_read, self._accept_refused)

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> None:
        waiting = _Waiting(target, args or (), kwargs or {}, callback, accept_callback)
        with self._lock:
            if self._open >= self.open_calls or self._refused:
                self._refused.append(waiting)
                return
            self._open += 1
        self._accept(waiting)

    def _accept(self, waiting: _Waiting) -> None:
        if waiting.accept is not None:
            waiting.accept(os.getpid(), monotonic())
        first = not self._incoming
        self._incoming.append(waiting)
        if first:
            self._loop.call_soon_threadsafe(self._begin)

    def _accept_refused(self, *_: Any) -> None:
        with contextlib.suppress(BlockingIOError):  # another wake-up has emptied the pipe
            os.read(self._wake_read, 4096)
        while True:
            with self._lock:
                if not self._refused or self._open >= self.open_calls:
                    return
                self._open += 1
                waiting = self._refused.popleft()
            self._accept(waiting)

    def on_stop(self) -> None:
        """Warm shutdown: waits for open calls; the lifespan decides what happens to those that take too long."""
        self._end()

    def on_terminate(self) -> None:
        """Cold shutdown: open calls are cancelled at once."""
        self._loop.call_soon_threadsafe(self._cancel_all)
        self._end()

    def _end(self) -> None:
        if self._thread.is_alive() and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def _get_info(self) -> dict[str, Any]:
        return {**super()._get_info(), "open-calls": self._open, "most-open-calls": self.open_calls}

    # -- the loop's side

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        except BaseException as error:
            self._failed = error
            self._started.set()
            log.exception("event_loop_ended")
        finally:
            self._loop.close()

    async def _main(self) -> None:
        self._stopping = asyncio.Event()
        make = type(self).lifespan
        if make is None:
            self._started.set()
            await self._stopping.wait()
            await self._drain()
            return
        async with make():
            self._started.set()
            await self._stopping.wait()
            await self._drain()

    async def _drain(self) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=self.drain_s)

    def _cancel_all(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    def _begin(self) -> None:
        """Runs Celery's tracer for everything that has come in."""
        for _ in range(len(self._incoming)):
            self._trace(self._incoming.popleft())
        if self._incoming:
            self._loop.call_soon(self._begin)

    def _trace(self, waiting: _Waiting) -> None:
        result: Any = None
        try:
            result = waiting.target(*waiting.args, **waiting.kwargs)
        except Exception:
            log.exception("tracer_failed")
        work, _adopted[:] = list(_adopted), []
        if not work:
            self._ended(waiting, result)
            return
        task = self._loop.create_task(_all(work))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._task_ended(done, waiting, result))

    def _task_ended(self, task: asyncio.Task[None], waiting: _Waiting, result: Any) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("call_failed", exc_info=error)
        self._ended(waiting, result)

    def _ended(self, waiting: _Waiting, result: Any) -> None:
        if waiting.callback is not None and result is not None:
            waiting.callback(result)
        self.release(1)

    def reserve(self, most: int) -> int:
        """Takes up to ``most`` places for calls that came with the same message; returns how many were free."""
        with self._lock:
            free = max(0, min(most, self.open_calls - self._open))
            self._open += free
        return free

    def release(self, places: int) -> None:
        """Frees places, and lets the consumer know where it had to refuse a message."""
        with self._lock:
            self._open -= places
            wake = bool(self._refused) and places > 0
        if wake:
            with contextlib.suppress(BlockingIOError):  # the pipe is full of wake-ups already
                os.write(self._wake_write, b"\0")

    @classmethod
    def serving(cls) -> AsyncPool:
        """The pool of this process. Raises ``RuntimeError`` before it has started."""
        if cls.current is None:
            raise RuntimeError("the pool has not started")
        return cls.current


async def _all(work: list[Coroutine[Any, Any, None]]) -> None:
    for one in work:
        await one
