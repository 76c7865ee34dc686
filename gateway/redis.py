"""Connections to Redis, built in one place.

Commands are never sent twice after a lost reply: an admission that was carried out must not be carried out again.
"""

from __future__ import annotations

import asyncio
from typing import Any

import redis as blocking
import redis.asyncio as aio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

CONNECT_TIMEOUT_S = 2.0
REPLY_TIMEOUT_S = 5.0
"""Redis answers in microseconds; five seconds of silence is an outage, and callers get 503."""


def connect(url: str, *, reply_timeout_s: float | None = REPLY_TIMEOUT_S) -> blocking.Redis:
    """A blocking client, for billing and the command line. Replies are bytes."""
    return blocking.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=reply_timeout_s,
        socket_keepalive=True,
    )


def connect_async(url: str, *, reply_timeout_s: float | None = REPLY_TIMEOUT_S) -> aio.Redis:
    """An asyncio client. Replies are bytes."""
    return aio.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        retry=AsyncRetry(NoBackoff(), 0),
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=reply_timeout_s,
        socket_keepalive=True,
    )


class RedisLine:
    """One connection shared by all coroutines of a loop: commands of one tick travel in one round trip.

    While a round trip is under way, further commands gather for the next; at low load a command goes out at once.
    """

    def __init__(self, url: str) -> None:
        self._client = connect_async(url)
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._runner: asyncio.Task[None] | None = None

    async def execute_command(self, *args: Any) -> Any:
        """The command's reply. Raises ``redis.RedisError`` (its own error reply, or Redis is out of reach)."""
        return await self.submit(*args)

    def submit(self, *args: Any) -> asyncio.Future[Any]:
        """Puts the command in line at once, so that commands keep the order of their calls, and returns its reply."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((args, future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return future

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                pipe = self._client.pipeline(transaction=False)
                for args, _ in batch:
                    pipe.execute_command(*args)  # pyright: ignore[reportUnknownMemberType]
                try:
                    replies: list[Any] = await pipe.execute(raise_on_error=False)
                except (RedisError, OSError) as exc:
                    replies = [exc] * len(batch)
                for (_, future), reply in zip(batch, replies, strict=True):
                    if future.done():
                        continue  # its caller was cancelled
                    if isinstance(reply, Exception):
                        future.set_exception(reply)
                    else:
                        future.set_result(reply)
        finally:
            self._runner = None

    async def aclose(self) -> None:
        """Waits for what is under way and closes the connection."""
        if self._runner is not None:
            await self._runner
        await self._client.aclose()
