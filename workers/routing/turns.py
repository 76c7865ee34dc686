"""Whose turn it is, and what is known of each deployment: shared by all workers through Redis.

A call costs one command at most, and none where its model has one deployment in good health. Good calls are told
together, about once a second; failures and the outcome of probes at once, and who sees a breaker open or a pause begin
tells the other workers. While Redis is away every worker goes by its own memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import structlog
from redis.exceptions import RedisError

from gateway.deployments import health
from gateway.deployments.health import Health, Rules, Seen
from gateway.redis import RedisLine
from gateway.settings import Settings
from gateway.wire import keys
from gateway.wire.news import News, encode_news
from workers import metrics
from workers.providers.base import FailureKind, ProviderFailure
from workers.routing.candidates import Candidate
from workers.routing.choose import Balance

log = structlog.get_logger("workers.routing")

BLAMELESS: frozenset[FailureKind] = frozenset({"bad_request", "context_length", "content_policy"})
"""The deployment is well: it answered, and the answer is about the request."""
LEAST_COOL_S, LONGEST_COOL_S = 0.25, 60.0
"""A Retry-After outside these bounds is brought into them: nothing is gained by less, and more may be a mistake."""


class Turn(msgspec.Struct, frozen=True):
    """The deployment to ask, and whether that is a probe; None: all breakers are open, ask again in `wait_s`. `paused`:
    the first of them to be free waits for its provider, which asked for a pause."""

    candidate: Candidate | None
    probe: bool = False
    wait_s: float = 0.0
    paused: bool = False


class Turns:
    """One worker's view of all deployments.

    Args:
        known: the ids of the deployments in force.
    """

    def __init__(self, redis: RedisLine, settings: Settings, known: Callable[[], Iterable[str]]) -> None:
        self._redis = redis
        self._known = known
        self._rules = Rules(
            int(settings.breaker_window_s * 1000), settings.breaker_failures, int(settings.health_half_life_s * 1000)
        )
        self._probe_ms = int(settings.breaker_probe_s * 1000)
        self._patience_s = settings.choice_patience_s
        self._every_s = settings.health_every_s
        self._balance = Balance()
        self._pending: dict[str, Seen] = {}
        self._shut: set[str] = set()
        """Deployments whose breakers are open, or that cool down, as far as this worker knows."""
        self._shown: set[str] = set()
        """Deployments that have gauges."""
        self._reports: set[asyncio.Task[None]] = set()

    async def choose(self, groups: list[list[Candidate]]) -> Turn:
        """The candidate whose turn it is: the first group with one in health decides."""
        first = groups[0]
        if len(first) == 1 and first[0].deployment.id not in self._shut:
            return Turn(first[0])
        flat = [(number, candidate) for number, group in enumerate(groups) for candidate in group]
        asked = [(number, c.deployment.id, c.deployment.weight) for number, c in flat]
        try:
            async with asyncio.timeout(self._patience_s):
                chosen = await health.choose(self._redis, self._probe_ms, asked)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            log.warning("chosen_alone", error=type(error).__name__)
            return Turn(self._alone(groups))
        if chosen.at is None:
            self._shut.update(name for _, name, _ in asked)
            return Turn(None, wait_s=chosen.wait_ms / 1000, paused=chosen.paused)
        return Turn(flat[chosen.at][1], chosen.probe)

    def _alone(self, groups: list[list[Candidate]]) -> Candidate:
        for group in groups:
            if healthy := [c for c in group if c.deployment.id not in self._shut]:
                return self._balance.choose(healthy)
        return self._balance.choose(groups[0])

    def spoke(self, deployment: str, first_s: float, probe: bool) -> None:
        """A deployment has begun to answer, `first_s` seconds after it was asked."""
        seen = self._pending.setdefault(deployment, Seen())
        seen.good += 1
        seen.first_ms += int(first_s * 1000)
        if probe:
            seen.probed = True
            self._tell(deployment)

    def failed(self, deployment: str, failure: ProviderFailure, probe: bool = False) -> None:
        """An attempt failed."""
        if failure.kind in BLAMELESS:
            if probe:
                self.spoke(deployment, 0.0, probe)
            return
        seen = self._pending.setdefault(deployment, Seen())
        if failure.kind == "rate_limited" and failure.retry_after_s is not None:
            seen.cool_ms = int(min(max(failure.retry_after_s, LEAST_COOL_S), LONGEST_COOL_S) * 1000)
        else:
            seen.failed += 1
        self._tell(deployment)

    def _tell(self, deployment: str) -> None:
        """Reports one deployment now."""
        seen = self._pending.pop(deployment)
        task = asyncio.get_running_loop().create_task(self._report([(deployment, seen)]))
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    async def _report(self, seen: list[tuple[str, Seen]]) -> None:
        try:
            states = await health.report(self._redis, self._rules, seen)
        except (RedisError, OSError) as error:
            log.warning("health_not_told", error=type(error).__name__)
            return
        for (name, told), state in zip(seen, states, strict=True):
            if state.state != "closed" and (told.failed or told.cool_ms) and name not in self._shut:
                self._redis.submit("PUBLISH", keys.NEWS, encode_news(News("shut", name))).add_done_callback(_heard)
            self._learn(name, state)

    def _learn(self, name: str, state: Health) -> None:
        self._shown.add(name)
        metrics.BREAKER_OPEN.labels(name).set(state.state == "open")
        metrics.ERROR_RATE.labels(name).set(state.error_rate)
        metrics.LATENCY.labels(name).set(state.first_token_ms / 1000)
        if state.state == "closed":
            self._shut.discard(name)
        elif name not in self._shut:
            self._shut.add(name)
            log.warning("deployment_shut", deployment=name, state=state.state, error_rate=state.error_rate)

    def shut(self, name: str) -> None:
        """Another worker says so; the next exchange tells how it is."""
        self._shut.add(name)

    async def exchange(self) -> None:
        """Tells what has gathered and learns how every known deployment is."""
        pending, self._pending = self._pending, {}
        names = dict.fromkeys([*self._known(), *pending])
        self._shut &= names.keys()
        for gone in self._shown - names.keys():
            metrics.forget(gone)
        self._shown &= names.keys()
        self._balance.keep(frozenset(names))
        if names:
            await self._report([(name, pending.get(name) or Seen()) for name in names])

    async def run(self) -> None:
        """Exchanges for ever."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.exchange()


def _heard(published: asyncio.Future[Any]) -> None:
    """News are hints: the others find out within a second by themselves."""
    if not published.cancelled() and (error := published.exception()) is not None:
        log.warning("news_not_published", error=type(error).__name__)
