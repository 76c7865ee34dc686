"""The front end's sources in PostgreSQL, as the role ``wonrouter_api``, which may read what it needs and no more."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from api.parts import Sources
from api.sources import SourceAway
from gateway import receipts
from gateway.accounts import guardrail_events, words
from gateway.accounts.guardrail_events import Event
from gateway.accounts.identity import Identity
from gateway.accounts.store import IdentityStore
from gateway.catalogue.snapshot import Snapshot
from gateway.db.catalogue_store import CatalogueReader
from gateway.db.connect import async_engine
from gateway.settings import Settings

T = TypeVar("T")


class PostgresSources:
    """All of ``api.sources`` over one engine.

    Args:
        settings: names the database, and whether the sandbox is on.
    """

    def __init__(self, settings: Settings) -> None:
        self._engine = async_engine(settings.database_url)
        self._store = IdentityStore(self._engine)
        self._catalogue = CatalogueReader(
            self._engine, sandbox=settings.sandbox, stop_business_days=settings.fx_stop_business_days
        )

    def sources(self) -> Sources:
        """The same object in every part."""
        return Sources(
            identities=self,
            epochs=self,
            snapshots=self,
            receipts=self,
            words=self,
            aclose=self._engine.dispose,
            engine=self._engine,
            touch=self.touch,
            audit=self.audit,
        )

    async def by_hash(self, sha256: bytes) -> Identity | None:
        """See ``IdentityLoader``."""
        return await _or_away(self._store.by_hash(sha256))

    async def touch(self, used: dict[str, int]) -> None:
        """See ``LastUsed``."""
        await _or_away(self._store.touch_last_used(used))

    async def audit(self, events: Sequence[Event]) -> None:
        """See ``GuardrailLog``."""
        await _or_away(self._audit(events))

    async def _audit(self, events: Sequence[Event]) -> None:
        async with self._engine.begin() as connection:
            await connection.run_sync(guardrail_events.write, events)

    async def window_epoch(self) -> str:
        """See ``EpochLoader``."""
        return await _or_away(self._store.window_epoch())

    async def load(self) -> Snapshot:
        """See ``SnapshotLoader``."""
        return await _or_away(self._catalogue.load())

    async def receipt(self, org_id: str, job_id: str) -> dict[str, Any] | None:
        """See ``ReceiptLoader``."""
        return await _or_away(receipts.receipt(self._engine, job_id, org_id))

    async def words(self, org_id: str) -> tuple[int, list[str]]:
        """See ``WordsLoader``."""
        return await _or_away(self._words(org_id))

    async def _words(self, org_id: str) -> tuple[int, list[str]]:
        async with self._engine.connect() as connection:
            found = await connection.run_sync(words.load, org_id)
        return found.version, found.words


async def _or_away(work: Awaitable[T]) -> T:
    try:
        return await work
    except (SQLAlchemyError, OSError) as exc:
        raise SourceAway(type(exc).__name__) from exc
