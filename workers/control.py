"""The worker's ear: cancel and resend requests on its own channel, and news that concern it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from redis.exceptions import RedisError

from gateway.redis import connect_async
from gateway.wire import keys
from gateway.wire.frame import Control, decode_control
from gateway.wire.news import News, decode_news

log = structlog.get_logger("workers.control")

RETRY_S = 0.2
"""Between attempts to subscribe again: Redis comes back within seconds, and so must we."""


class ControlChannel:
    """Listens for as long as `run` runs; `subscribed` says whether it hears anything just now."""

    def __init__(
        self, redis_url: str, worker: str, *, on_control: Callable[[Control], None], on_news: Callable[[News], None]
    ) -> None:
        self._url = redis_url
        self._channel = keys.control(worker)
        self._on_control = on_control
        self._on_news = on_news
        self.subscribed = asyncio.Event()

    async def run(self) -> None:
        """Subscribes, listens, and does so again whenever the connection breaks."""
        while True:
            client: Any = connect_async(self._url, reply_timeout_s=None)
            try:
                async with client.pubsub() as pubsub:
                    await pubsub.subscribe(self._channel, keys.NEWS)
                    self._on_news(News("deployments"))  # what was said while nobody listened
                    async for message in pubsub.listen():
                        self._take(message)
            except (RedisError, OSError) as error:
                log.warning("control_channel_lost", error=str(error))
            finally:
                self.subscribed.clear()
                await client.aclose()
            await asyncio.sleep(RETRY_S)

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self.subscribed.set()
        elif message["type"] == "message":
            try:
                if message["channel"] == keys.NEWS.encode():
                    self._on_news(decode_news(message["data"]))
                else:
                    self._on_control(decode_control(message["data"]))
            except msgspec.DecodeError as error:
                log.warning("control_message_unreadable", error=str(error))
