"""Admissions whose reply was lost with the connection to Redis: their job may exist, and nobody has been told its id.

What is known of it is the random part of its id, which was sent. Either the job is found, by its first frame or in
Redis, and its client gets the answer as if nothing had been; or its client is told 503, and then the job is disowned:
it is stopped as soon as anything is heard of it, and nobody is charged for it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import structlog
from redis.exceptions import RedisError

from gateway.credit import admission
from gateway.credit.scripts import AsyncExecutor
from gateway.wire import ids

PATIENCE_S = 3.0
"""How long a client waits while Redis does not say whether its job exists; then it is told to come again."""
PAUSE_S = 0.2
LOOKS = 2
"""A job that Redis does not know in so many looks was never placed: the lost command was not carried out."""
DISOWNED_S = 120.0
DISOWNED = 10_000
"""Longer than an unclaimed job may wait; more than one process has under way."""

log = structlog.get_logger()


class Unheard:
    """Those of this process.

    Args:
        redis: the process's line.
    """

    def __init__(self, redis: AsyncExecutor) -> None:
        self._redis = redis
        self._sought: dict[str, asyncio.Future[str | None]] = {}
        self._looks: dict[str, int] = {}
        self._looking: asyncio.Task[None] | None = None
        self._disowned: OrderedDict[str, float] = OrderedDict()

    async def find(self, digits: tuple[str, str]) -> str | None:
        """The job placed with these digits; None where there is none, or none is found in time: it is disowned."""
        sought = "".join(digits)
        loop = asyncio.get_running_loop()
        found = self._sought[sought] = loop.create_future()
        self._looks[sought] = 0
        if self._looking is None:
            self._looking = loop.create_task(self._look())
        try:
            job = await asyncio.wait_for(found, PATIENCE_S)
        except TimeoutError:
            job = None
        finally:
            del self._sought[sought], self._looks[sought]
        if job is None:
            self._disown(sought, loop.time())
        log.warning("admission_reply_lost", job=job)
        return job

    def heard(self, job: str) -> None:
        """Something was heard of a job that nobody here knows."""
        found = self._sought.get(ids.place_of(job).decode())
        if found is not None and not found.done():
            found.set_result(job)

    def disowned(self, job: str) -> bool:
        """Whether its client was told that it does not exist."""
        return bool(self._disowned) and ids.place_of(job).decode() in self._disowned

    def _disown(self, digits: str, now: float) -> None:
        self._disowned[digits] = now
        while len(self._disowned) > DISOWNED or now - next(iter(self._disowned.values())) > DISOWNED_S:
            self._disowned.popitem(last=False)

    async def _look(self) -> None:
        """Asks Redis for all that are sought together, until none is."""
        try:
            while self._sought:
                await asyncio.sleep(PAUSE_S)
                try:
                    known = await admission.known_jobs(self._redis)
                except (RedisError, OSError):
                    continue
                for job in known:
                    self.heard(job)
                for sought, found in self._sought.items():
                    self._looks[sought] += 1
                    if self._looks[sought] >= LOOKS and not found.done():
                        found.set_result(None)
        finally:
            self._looking = None
