"""A process's one subscription: the channels that it listens to for as long as it lives.

The reader hands every message on at once and waits for nobody, so that Redis never has to keep output for us.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from redis.exceptions import RedisError

from gateway.redis import REPLY_TIMEOUT_S, Wire, connect_async, packed

PING_EVERY_S = 5.0
"""A connection that died without a word is noticed after at most this and the reply time-out."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 1.0

log = structlog.get_logger()


class Subscription:
    """Subscribed through reconnections.

    Args:
        url: Redis.
        channels: the name of each, and what is called with every payload of it.
        on_up: called whenever all channels are subscribed; true where they were before, so messages were missed.
        on_down: called when they no longer are.
    """

    def __init__(
        self,
        url: str,
        channels: Mapping[str, Callable[[bytes], None]],
        on_up: Callable[[bool], None],
        on_down: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = connect_async(url, reply_timeout_s=REPLY_TIMEOUT_S)
        self._subscribe = packed("SUBSCRIBE", *channels)
        self._channels = {name.encode(): on_message for name, on_message in channels.items()}
        self._on_up = on_up
        self._on_down = on_down
        self._unconfirmed: set[bytes] = set()
        self._been_ready = False
        self._wire: Wire | None = None
        self._confirmed = asyncio.Event()
        self._lost_at: float | None = None
        self._answered = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether messages arrive at this moment."""
        return self._confirmed.is_set()

    def away_s(self) -> float:
        """For how many seconds the subscription has been down; 0 while it is up."""
        if self.ready or self._lost_at is None:
            return 0.0 if self.ready else math.inf
        return asyncio.get_running_loop().time() - self._lost_at

    def begin(self) -> None:
        """Subscribes in the background, and goes on trying."""
        self._task = asyncio.create_task(self._keep(), name="subscription")

    async def start(self, patience_s: float) -> bool:
        """Begins. Returns whether it is subscribed within ``patience_s``."""
        self.begin()
        return await self.wait(patience_s)

    async def wait(self, patience_s: float) -> bool:
        """Waits until it is subscribed, at most that long. Returns whether it is."""
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
                self._unconfirmed = set(self._channels)
                wire.send(self._subscribe)
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
            log.warning("subscription_lost", reason=type(why).__name__)
            self._on_down()

    def _take(self, message: Any) -> None:
        """A message of a channel, or what else comes: confirmations, answers to pings, and refusals."""
        if isinstance(message, Exception):
            assert self._wire is not None
            self._wire.close(message)
        elif not isinstance(message, list):
            self._answered = asyncio.get_running_loop().time()  # a PONG in protocol 3
        elif message[0] == b"message":
            self._channels[message[1]](message[2])  # pyright: ignore[reportUnknownArgumentType]
        elif message[0] == b"pong":
            self._answered = asyncio.get_running_loop().time()
        elif message[0] == b"subscribe" and self._unconfirmed:
            self._unconfirmed.discard(message[1])  # pyright: ignore[reportUnknownArgumentType]
            if not self._unconfirmed:
                again, self._been_ready = self._been_ready, True
                self._confirmed.set()
                self._on_up(again)

    async def _ping(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(PING_EVERY_S)
            if loop.time() - self._answered > PING_EVERY_S + REPLY_TIMEOUT_S:
                wire.close(TimeoutError("Redis does not answer"))
                return
            wire.send(packed("PING"))
