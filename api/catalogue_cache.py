"""The catalogue as this process sees it: replaced as a whole, on news and every few seconds, listings rendered once."""

from __future__ import annotations

import asyncio
import contextlib
import time

import structlog

from api.sources import SnapshotLoader, SourceAway
from gateway.catalogue.snapshot import Snapshot
from gateway.errors import ServiceUnavailable
from gateway.wire.news import News

RELOAD_S = 3.0
"""News are hints; who missed one is right again after this."""

log = structlog.get_logger()


class CatalogueCache:
    """Holds the current snapshot.

    Args:
        loader: PostgreSQL.
        sandbox: whether the sandbox models are offered.
    """

    def __init__(self, loader: SnapshotLoader, *, sandbox: bool) -> None:
        self._loader = loader
        self.sandbox = sandbox
        self._snapshot: Snapshot | None = None
        self._listing: tuple[int, bytes] = (0, b"")
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a snapshot."""
        return self._snapshot is not None

    @property
    def snapshot(self) -> Snapshot:
        """The catalogue now. Raises ``ServiceUnavailable`` where none has been loaded yet."""
        if self._snapshot is None:
            raise ServiceUnavailable()
        return self._snapshot

    def listing(self) -> bytes:
        """The body of GET /models, rendered at most once a second."""
        now = int(time.time())
        if self._listing[0] != now:
            self._listing = (now, self.snapshot.listing(now * 1000, self.sandbox))
        return self._listing[1]

    async def start(self) -> None:
        """Loads, and keeps loading in the background."""
        with contextlib.suppress(SourceAway):
            await self._load()
        self._task = asyncio.create_task(self._keep(), name="catalogue")

    async def aclose(self) -> None:
        """Stops loading."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def on_news(self, news: News) -> None:
        """Prices, rates or deployments changed."""
        if news.kind in ("catalogue", "deployments"):
            self._wanted.set()

    def want(self) -> None:
        """Load again soon: something was missed."""
        self._wanted.set()

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), RELOAD_S)
            self._wanted.clear()
            try:
                await self._load()
            except SourceAway:
                log.warning("catalogue_not_loaded")

    async def _load(self) -> None:
        snapshot = await self._loader.load()
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._listing = (0, b"")
