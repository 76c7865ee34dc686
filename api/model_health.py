"""How the models that kr/auto may choose are doing: the workers' knowledge of their deployments, a second old at most.

Requests read what is in memory and never wait: while Redis is slow or away the last word counts for a while, and after
that every model counts as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

import structlog
from redis.exceptions import RedisError

from gateway.catalogue import auto
from gateway.catalogue.auto import WELL, Condition
from gateway.catalogue.snapshot import Snapshot
from gateway.credit.scripts import AsyncExecutor
from gateway.deployments import health
from gateway.deployments.health import Health, Rules, Seen

EVERY_S = 1.0
PATIENCE_S = 0.5
"""Redis answers in a millisecond; one that takes longer has other worries."""
REMEMBERED_S = 30.0
"""What was heard longer ago says nothing about now."""
UNPROBED_MS = 10_000
"""A deployment that is down and that nobody has tried for so long may be well again: only a call can tell. Workers
probe it every second where there is traffic; without this, a model that only kr/auto uses would never come back."""

log = structlog.get_logger()


class ModelHealth:
    """The condition of every model that kr/auto grades and that has deployments.

    Args:
        redis: where the workers tell each other.
        snapshot: the catalogue in force, or None before there is one.
    """

    def __init__(self, redis: AsyncExecutor, snapshot: Callable[[], Snapshot | None]) -> None:
        self._redis = redis
        self._snapshot = snapshot
        self._conditions: Mapping[str, Condition] = {}
        self._heard_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to listen."""
        self._task = asyncio.create_task(self._listen(), name="model health")

    async def aclose(self) -> None:
        """Ends it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def now(self) -> Mapping[str, Condition]:
        """By model; one that is not in it is well, as far as anybody knows."""
        fresh = asyncio.get_running_loop().time() - self._heard_at <= REMEMBERED_S
        return self._conditions if fresh else {}

    async def _listen(self) -> None:
        while True:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self.refresh()
            except (RedisError, OSError) as exc:  # TimeoutError is an OSError
                log.warning("health_not_heard", reason=type(exc).__name__)
            await asyncio.sleep(EVERY_S)

    async def refresh(self) -> None:
        """Asks now. Raises Redis's errors."""
        snapshot = self._snapshot()
        if snapshot is None:
            return
        of_models = {g.id: snapshot.deployments[g.id] for g in auto.rules().model if g.id in snapshot.deployments}
        names = [name for found in of_models.values() for name in found]
        states = await health.report(self._redis, Rules(), [(name, Seen()) for name in names]) if names else []
        known = dict(zip(names, states, strict=True))
        self._conditions = {model: condition([known[name] for name in found]) for model, found in of_models.items()}
        self._heard_at = asyncio.get_running_loop().time()


def condition(deployments: Sequence[Health]) -> Condition:
    """A model is down where every one of its deployments is, and errs as the others do on average.

    Of one that is to be tried again nothing is held against it.
    """
    if not deployments:
        return WELL
    errors = [0 if h.state == "open" else int(h.error_rate * 10_000) for h in deployments if not _down(h)]
    return Condition(errors=sum(errors) // len(errors)) if errors else Condition(down=True)


def _down(h: Health) -> bool:
    return h.state == "cooling" or (h.state == "open" and h.quiet_ms < UNPROBED_MS)
