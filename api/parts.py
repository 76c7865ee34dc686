"""The parts of one api process, put together once and handed to the routes."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from api import guardrail_log, metrics
from api.admission import Admission
from api.auth import Identities, NoCredential
from api.catalogue_cache import CatalogueCache
from api.guardrail_log import GuardrailLog
from api.guardrails import Guardrails
from api.guardrails.moderation import Moderation
from api.idempotency import Idempotency
from api.last_used import LastUsed, Write
from api.model_health import ModelHealth
from api.pressure import Pressure, measured
from api.relay import Relay
from api.session_calls import SessionCalls
from api.sources import EpochLoader, IdentityLoader, ReceiptLoader, SnapshotLoader, WordsLoader
from gateway.accounts.identity import Identity
from gateway.errors import ServiceUnavailable
from gateway.redis import RedisLine
from gateway.settings import Settings
from gateway.subscription import Subscription
from gateway.wire import keys
from gateway.wire.news import News, decode_news

START_PATIENCE_S = 5.0
"""How long the start waits for the subscription; after it the process serves, says it is not ready, and keeps trying."""
DEAF_S = 1.0
"""With the subscription down for longer than this, nothing is admitted: nobody would hear the answer. A shorter break
is repaired."""

log = structlog.get_logger()


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """What is read from PostgreSQL; see ``api.sources``."""

    identities: IdentityLoader
    epochs: EpochLoader
    snapshots: SnapshotLoader
    receipts: ReceiptLoader
    aclose: Callable[[], Awaitable[None]]
    words: WordsLoader | None = None
    engine: AsyncEngine | None = None
    """What the management API reads and changes by; without it there is none."""
    touch: Write | None = None
    """Writes down when keys were last used."""
    audit: guardrail_log.Write | None = None
    """Writes down what the guardrails did."""


class Parts:
    """Everything a route needs.

    Args:
        settings: the process's.
        sources: PostgreSQL, or what stands for it in a test.
        instance: names the reply channel; made up where not given.
    """

    def __init__(self, settings: Settings, sources: Sources, instance: str = "") -> None:
        self.settings = settings
        self.sources = sources
        self.redis = RedisLine(settings.redis_url)
        channel = keys.reply(instance or uuid.uuid4().hex)
        self.last_used = None if sources.touch is None else LastUsed(sources.touch)
        noted = None if self.last_used is None else self.last_used.note
        self.identities = Identities(sources.identities, settings.identity_cache_s, noted)
        self.guardrail_log = GuardrailLog(sources.audit)
        self.session_calls = SessionCalls(sources.engine, self.redis, self.identities, settings.hash_key)
        self.catalogue = CatalogueCache(sources.snapshots, sandbox=settings.sandbox)
        self.health = ModelHealth(self.redis, lambda: self.catalogue.snapshot if self.catalogue.ready else None)
        self.moderation = Moderation(settings)
        self.guardrails = Guardrails(sources.words, self.moderation)
        self.pressure = Pressure(settings)
        self.relay = Relay(settings, self.redis, channel)
        self.admission = Admission(
            settings, self.redis, self.identities, sources.epochs, channel, self.relay.unheard.find, self.pressure
        )
        self.idempotency = Idempotency(settings, self.redis)
        self.subscription = Subscription(
            settings.redis_url,
            {channel: self.relay.on_frames, keys.NEWS: self._on_news},
            self._on_up,
            metrics.SUBSCRIPTION_LOST.inc,
        )
        self.draining = False

    async def start(self) -> None:
        """Subscribes and loads, before traffic is accepted."""
        self.relay.start()
        measured(self.pressure)
        if self.last_used is not None:
            self.last_used.start()
        self.guardrail_log.start()
        await self.catalogue.start()
        self.health.start()
        if not await self.subscription.start(START_PATIENCE_S):
            log.error("started_without_subscription")

    async def aclose(self) -> None:
        """Ends everything in the order that loses nothing."""
        await self.idempotency.aclose()
        await self.relay.aclose()
        await self.subscription.aclose()
        await self.catalogue.aclose()
        await self.health.aclose()
        await self.moderation.aclose()
        await self.redis.aclose()
        if self.last_used is not None:
            await self.last_used.aclose()
        await self.guardrail_log.aclose()
        await self.sources.aclose()

    async def authenticate(self, scope: Any) -> tuple[Identity, bytes]:
        """Who calls, by API key or, where the request carries none, by session; and the hash that finds them again.

        Raises ``InvalidApiKey``, ``ServiceUnavailable``; for sessions as ``SessionCalls`` does.
        """
        try:
            return await self.identities.authenticate(scope["headers"])
        except NoCredential:
            return await self.session_calls.authenticate(scope)

    def heed(self, news: News) -> None:
        """Something changed: what this process remembers of it is asked for again."""
        self.identities.on_news(news)
        self.catalogue.on_news(news)

    def missing(self) -> list[str]:
        """What this process lacks to answer calls, in words."""
        there = {
            "subscription": self.subscription.ready,
            "catalogue": self.catalogue.ready,
            "draining": not self.draining,
        }
        return [name for name, fine in there.items() if not fine]

    def require_ears(self) -> None:
        """Raises ``ServiceUnavailable`` where the answer could not be heard."""
        if not self.subscription.ready and self.subscription.away_s() > DEAF_S:
            raise ServiceUnavailable()

    def _on_news(self, payload: bytes) -> None:
        try:
            news = decode_news(payload)
        except ValueError:
            log.error("news_undecodable", bytes=len(payload))
            return
        self.heed(news)

    def _on_up(self, again: bool) -> None:
        self.identities.expire_all()  # news were missed, also by who has served before it could hear any
        if not again:
            return
        self.catalogue.want()
        self.relay.on_again()
