"""The one subscription of this process: its reply channel, and the news.

The reader hands every message on at once and never waits for a client, so that Redis never has to keep output for us.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any

import structlog
from redis.exceptions import RedisError

from api import metrics
from gateway.redis import REPLY_TIMEOUT_S, Wire, connect_async, packed
from gateway.wire import keys

PING_EVERY_S = 5.0
"""A connection that died without a word is noticed after at most this and the reply time-out."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 1.0

log = structlog.get_logger()


class Subscription:
    """Subscribed to its reply channel and ``wr:news`` for the life of the process, through reconnections.

    Args:
        url: Redis.
        channel: this process's reply channel.
        on_frames: called with each payload of the reply channel.
        on_news: called with each payload of the news channel.
        on_again: called after a reconnection, once the channels are subscribed again.
    """

    def __init__(
        self,
        url: str,
        channel: str,
        on_frames: Callable[[bytes], None],
        on_news: Callable[[bytes], None],
        on_again: Callable[[], None],
    ) -> None:
        self.channel = channel
        self._client = connect_async(url, reply_timeout_s=REPLY_TIMEOUT_S)
        self._on_frames = on_frames
        self._on_news = on_news
        self._on_again = on_again
        self._frames_of = channel.encode()
        self._unconfirmed: set[bytes] = set()
        self._been_ready = False
        self._wire: Wire | None = None
        self._confirmed = asyncio.Event()
        self._lost_at: float | None = None
        self._answered = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether frames arrive at this moment."""
        return self._confirmed.is_set()

    def away_s(self) -> float:
        """For how many seconds the subscription has been down; 0 while it is up."""
        if self.ready or self._lost_at is None:
            return 0.0 if self.ready else math.inf
        return asyncio.get_running_loop().time() - self._lost_at

    async def start(self, patience_s: float) -> bool:
        """Subscribes, and goes on trying in the background. Returns whether it worked within ``patience_s``."""
        self._task = asyncio.create_task(self._keep(), name="subscription")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._confirmed.wait(), patience_s)
        return self.ready

    async def aclose(self) -> None:
        """Ends the subscription."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._client.aclose()

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_S
        while True:
            lost: asyncio.Future[Exception] = loop.create_future()
            pinger: asyncio.Task[None] | None = None
            try:
                self._wire = wire = await Wire.opened(self._client, self._take, lost.set_result)
                self._unconfirmed = {self._frames_of, keys.NEWS.encode()}
                wire.send(packed("SUBSCRIBE", self.channel, keys.NEWS))
                self._answered = loop.time()
                pinger = asyncio.create_task(self._ping(wire))
                why = await asyncio.shield(lost)
                pause = FIRST_PAUSE_S if self.ready else pause
                self._lose(loop, why)
            except (RedisError, OSError) as exc:
                self._lose(loop, exc)
            finally:
                if pinger is not None:
                    pinger.cancel()
                if self._wire is not None:
                    self._wire.close(ConnectionError("closed"))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    def _lose(self, loop: asyncio.AbstractEventLoop, why: Exception) -> None:
        if self._confirmed.is_set():
            self._confirmed.clear()
            self._lost_at = loop.time()
            metrics.SUBSCRIPTION_LOST.inc()
            log.warning("subscription_lost", reason=type(why).__name__)

    def _take(self, message: Any) -> None:
        """A message of a channel, or what else comes: confirmations, answers to pings, and refusals."""
        if isinstance(message, Exception):
            assert self._wire is not None
            self._wire.close(message)
        elif not isinstance(message, list):
            self._answered = asyncio.get_running_loop().time()  # a PONG in protocol 3
        elif message[0] == b"message":
            if message[1] == self._frames_of:
                self._on_frames(message[2])  # pyright: ignore[reportUnknownArgumentType]
            else:
                self._on_news(message[2])  # pyright: ignore[reportUnknownArgumentType]
        elif message[0] == b"pong":
            self._answered = asyncio.get_running_loop().time()
        elif message[0] == b"subscribe" and self._unconfirmed:
            self._unconfirmed.discard(message[1])  # pyright: ignore[reportUnknownArgumentType]
            if not self._unconfirmed:
                self._confirmed.set()
                if self._been_ready:
                    self._on_again()
                self._been_ready = True

    async def _ping(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(PING_EVERY_S)
            if loop.time() - self._answered > PING_EVERY_S + REPLY_TIMEOUT_S:
                wire.close(TimeoutError("Redis does not answer"))
                return
            wire.send(packed("PING"))
