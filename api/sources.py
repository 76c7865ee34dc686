"""What the front end asks of PostgreSQL, as protocols: it runs without any of them for a while, and never writes."""

from __future__ import annotations

from typing import Any, Protocol

from gateway.accounts.identity import Identity
from gateway.catalogue.snapshot import Snapshot


class IdentityLoader(Protocol):
    """Finds who owns an API key."""

    async def by_hash(self, sha256: bytes) -> Identity | None:
        """The identity behind an active, unexpired key's SHA-256, or None. Raises ``SourceAway``."""
        ...


class EpochLoader(Protocol):
    """Knows under which epoch the credit window is open."""

    async def window_epoch(self) -> str:
        """The epoch that Redis must have for admission to trust it. Raises ``SourceAway``."""
        ...


class SnapshotLoader(Protocol):
    """Reads the catalogue as it stands."""

    async def load(self) -> Snapshot:
        """Models, prices, rates and which models have a deployment. Raises ``SourceAway``."""
        ...


class ReceiptLoader(Protocol):
    """Finds what a settled call cost."""

    async def receipt(self, org_id: str, job_id: str) -> dict[str, Any] | None:
        """The receipt as JSON-ready values, or None where the organisation has no such settled job. Raises ``SourceAway``."""
        ...


class WordsLoader(Protocol):
    """Reads an organisation's forbidden words."""

    async def words(self, org_id: str) -> tuple[int, list[str]]:
        """The list's version and its words. Raises ``SourceAway``."""
        ...


class SourceAway(Exception):
    """PostgreSQL does not answer; what is cached goes on being used for a while."""
