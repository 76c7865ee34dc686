"""Leases of the jobs that run here: renewed every heartbeat, with checkpoints, for all jobs together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from redis.exceptions import RedisError

from gateway.credit import running
from gateway.redis import RedisLine
from workers import metrics
from workers.call import Call
from workers.publisher import Publisher

log = structlog.get_logger("workers.leases")

MOST_AT_ONCE = 256
"""Jobs in one renewal: more would hold Redis and our own loop for tens of milliseconds, so they are spread over the
heartbeat."""
SAVE_S, SAVE_AGAIN_S = 20.0, 0.25
"""How long a further attempt waits for Redis, trying again at intervals. While Redis is away no client hears a word, and
after this long the job's lease and grace have lapsed."""


class Leases:
    """The jobs of this worker and their renewal.

    Args:
        heartbeat_s, lease_s: how often leases are renewed and how long they hold, in seconds.
    """

    def __init__(self, redis: RedisLine, publisher: Publisher, *, heartbeat_s: float, lease_s: float) -> None:
        self._redis = redis
        self._publisher = publisher
        self._heartbeat_s = heartbeat_s
        self._lease_ms = int(lease_s * 1000)
        self._open: dict[str, Call] = {}
        self._noted: dict[str, Call] = {}
        self._saving: set[asyncio.Task[Any]] = set()
        self.lag_s = 0.0

    def add(self, call: Call) -> None:
        """From now on this job is renewed."""
        self._open[call.id] = call
        metrics.OPEN_CALLS.set(len(self._open))

    def remove(self, call: Call) -> None:
        """The job is over."""
        if self._open.get(call.id) is call:
            del self._open[call.id]
            metrics.OPEN_CALLS.set(len(self._open))

    def find(self, job: str) -> Call | None:
        """The open call of a job."""
        return self._open.get(job)

    def calls(self) -> list[Call]:
        """All open calls."""
        return list(self._open.values())

    def note(self, call: Call) -> None:
        """Saves the job's attempts at the end of this tick, without waiting for it."""
        call.attempts_changed()
        if not self._noted:
            asyncio.get_running_loop().call_soon(self._save_noted)
        self._noted[call.id] = call

    async def save(self, call: Call) -> None:
        """Saves the job's attempts and waits for that, so that no further call is made for a job that was lost meanwhile
        (this process stood still), or stands in no book. Where Redis stays away, the job goes on without."""
        call.attempts_changed()
        saving = asyncio.get_running_loop().create_task(self._save(call))
        self._saving.add(saving)
        saving.add_done_callback(self._saving.discard)
        await asyncio.wait([saving], timeout=SAVE_S)
        if call.stop_reason == "lost":
            raise asyncio.CancelledError  # the call's own task is being cancelled

    async def _save(self, call: Call) -> None:
        while True:
            if await self._renew([call]) or self._open.get(call.id) is not call:
                return
            await asyncio.sleep(SAVE_AGAIN_S)

    def _save_noted(self) -> None:
        noted, self._noted = self._noted, {}
        task = asyncio.get_running_loop().create_task(self._renew(list(noted.values())))
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)

    async def run(self) -> None:
        """Renews for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._heartbeat_s
            calls = self.calls()
            slices = max(1, -(-len(calls) // MOST_AT_ONCE))
            for i in range(slices):
                await self._beat(calls[i * MOST_AT_ONCE : (i + 1) * MOST_AT_ONCE])
                if i + 1 < slices:
                    await self._pause(self._heartbeat_s / slices)
            self._publisher.sweep()
            await self._pause(max(0.01, due - loop.time()))

    async def _pause(self, seconds: float) -> None:
        before = time.monotonic()
        await asyncio.sleep(seconds)
        self.lag_s = max(0.0, time.monotonic() - before - seconds)
        metrics.LOOP_LAG.observe(self.lag_s)

    async def _beat(self, calls: Sequence[Call]) -> None:
        live = [call for call in calls if self._open.get(call.id) is call]
        for call in live:
            self._publisher.alive(call.reply, call.id, call.epoch, call.seq - 1)
        await self._renew(live)

    async def _renew(self, calls: Sequence[Call]) -> bool:
        """Whether Redis answered."""
        try:
            verdicts = await running.renew(self._redis, [call.heartbeat() for call in calls], self._lease_ms)
        except (RedisError, OSError) as error:
            log.warning("leases_not_renewed", jobs=len(calls), error=str(error))
            for call in calls:
                call.heartbeat_lost()
            return False
        for call, verdict in zip(calls, verdicts, strict=True):
            if verdict == running.LOST and not call.ending:
                metrics.LOST_LEASES.inc()
                log.warning("lease_lost", job=call.id, epoch=call.epoch)
                call.stop("lost")
            elif verdict == running.CANCELLED:
                call.stop("cancelled")
            elif verdict == running.DISOWNED:
                call.stop("disowned")
        return True


def stop_channel(leases: Leases) -> Callable[[str], None]:
    """What to do when nobody listens on a channel: every call that answers there is stopped."""

    def stop(reply: str) -> None:
        for call in leases.calls():
            if call.reply == reply:
                call.stop("nobody")

    return stop
