"""What every call of a worker process shares."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Coroutine, Mapping
from typing import Any

from gateway.catalogue.model import Model
from gateway.http import UpstreamTransport
from gateway.redis import RedisLine
from gateway.seal import Sealer
from gateway.settings import Settings
from workers.leases import Leases
from workers.publisher import Publisher
from workers.reloading import DeploymentSet
from workers.routing.turns import Turns


@dataclasses.dataclass(slots=True)
class Room:
    """One worker process from within: its connections, its open jobs, what it knows."""

    settings: Settings
    worker: str
    redis: RedisLine
    http: UpstreamTransport
    pictures: UpstreamTransport
    """For URLs that clients chose: refuses private addresses."""
    publisher: Publisher
    leases: Leases
    deployments: DeploymentSet
    models: Mapping[str, Model]
    turns: Turns
    sealer: Sealer
    """Opens jobs."""
    kept_sealer: Sealer
    """Seals answers that are kept."""
    background: set[asyncio.Task[Any]] = dataclasses.field(default_factory=set[asyncio.Task[Any]])

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs something that nobody waits for, and keeps hold of it."""
        task = asyncio.get_running_loop().create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)
