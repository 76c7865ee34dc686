"""The deployments in force, in memory; loaded again on news and every few seconds, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from gateway.deployments.deployment import Deployment

log = structlog.get_logger("workers.reloading")

RELOAD_S = 5.0
"""News may be missed; after this a change is in force all the same."""


class DeploymentSet:
    """The newest set that could be loaded. While PostgreSQL is away the last one stays in use.

    Args:
        load: reads the whole set, blocking; runs in a thread.
    """

    def __init__(self, load: Callable[[], Sequence[Deployment]]) -> None:
        self._load = load
        self._last: Sequence[Deployment] | None = None
        self._wake = asyncio.Event()
        self.current: Mapping[str, Sequence[Deployment]] = {}
        self.loaded = asyncio.Event()

    def refresh(self) -> None:
        """Something changed: load soon."""
        self._wake.set()

    def ids(self) -> list[str]:
        """Every deployment's id."""
        return [deployment.id for found in self.current.values() for deployment in found]

    async def run(self) -> None:
        """Loads for ever."""
        while True:
            self._wake.clear()
            await self.load_once()
            try:
                async with asyncio.timeout(RELOAD_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def load_once(self) -> None:
        """Loads once; keeps what there is where that fails."""
        try:
            found = await asyncio.to_thread(self._load)
        except Exception as error:  # noqa: BLE001 whatever keeps the set from loading, calls go on with the last one
            log.warning("deployments_not_loaded", error=f"{type(error).__name__}: {error}"[:300])
            return
        by_model: dict[str, list[Deployment]] = {}
        for deployment in found:
            by_model.setdefault(deployment.model, []).append(deployment)
        self.current = by_model
        if found != self._last:
            self._last = found
            log.info("deployments_loaded", count=len(found))
        self.loaded.set()
