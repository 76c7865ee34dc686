"""Puts a worker's parts together and starts and stops them inside one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog
from redis.exceptions import RedisError

from gateway.catalogue.model import Model
from gateway.credit import admission, running
from gateway.deployments.deployment import Deployment
from gateway.http import UpstreamTransport
from gateway.redis import RedisLine
from gateway.settings import Settings
from gateway.subscription import Subscription
from gateway.wire import keys
from gateway.wire.frame import decode_control
from gateway.wire.news import decode_news
from workers import metrics
from workers.call import Call
from workers.complete import carry_out, complete, take
from workers.leases import Leases, stop_channel
from workers.publisher import Publisher
from workers.reloading import DeploymentSet
from workers.room import Room
from workers.routing.turns import Turns

log = structlog.get_logger("workers.calls")

MOST_TAKEN = 16
"""Jobs for one message: enough to make what a message costs small, few enough to leave the rest to other workers."""
FEW_CALLS = 32
"""With so few calls open, a slow loop is not their doing: the machine is busy, and waiting would not help."""
BACKGROUND_PLACES = 0.75
"""Of a worker's places: calls that somebody waits for find some free, however much work of the background there is."""
BEHIND_S = 1.0
"""How often another worker is called for work of the background that this one has no place for: it may have none either."""
PAUSE_S, LONGEST_PAUSE_S = 0.01, 0.5
PASS_ON_S = 1.0
"""How long the end of a process waits until others are called instead of it: without Redis nobody can be."""
SETTLE_S = 5.0
"""How long stopped calls may take to write their end."""


class Places(Protocol):
    """Where calls run, a limited number of them at once."""

    def reserve(self, most: int) -> int:
        """Takes up to that many places; returns how many there were."""
        ...

    def release(self, places: int) -> None:
        """Gives places back."""
        ...


class CallWorker:
    """One worker's life in an event loop: `start`, then `run` per job, then `drain` and `close`.

    Args:
        load: reads the deployments, blocking.
        models: the catalogue.
    """

    def __init__(
        self, settings: Settings, load: Callable[[], Sequence[Deployment]], models: Mapping[str, Model]
    ) -> None:
        self.id = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._settings = settings
        redis = RedisLine(settings.redis_url)
        self.publisher = Publisher(
            redis,
            self.id,
            nobody_s=settings.nobody_listens_s,
            most_bytes=settings.resend_buffer_bytes,
            on_nobody=self._nobody,
        )
        leases = Leases(redis, self.publisher, heartbeat_s=settings.heartbeat_s, lease_s=settings.lease_s)
        self._stop_channel = stop_channel(leases)
        deployments = DeploymentSet(load)
        self.room = Room(
            settings=settings,
            worker=self.id,
            redis=redis,
            # deployments are written down by operators, who may well run models in their own network
            http=UpstreamTransport(connect_timeout_s=settings.connect_timeout_s, allow_private=True),
            pictures=UpstreamTransport(connect_timeout_s=settings.connect_timeout_s),
            publisher=self.publisher,
            leases=leases,
            deployments=deployments,
            models=models,
            turns=Turns(redis, settings, deployments.ids),
            sealer=settings.sealer("job"),
            kept_sealer=settings.sealer("kept"),
        )
        self.control = Subscription(
            settings.redis_url,
            {keys.control(self.id): self._on_control, keys.NEWS: self._on_news},
            lambda _again: deployments.refresh(),  # what was said while nobody listened
        )
        self.places: Places | None = None
        """For the calls of jobs that this worker hears of on its own channel; without them it is called through Celery."""
        self._services: list[asyncio.Task[None]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._taking: set[asyncio.Task[None]] = set()
        self._draining = False
        self._waiting = False
        self._background = 0
        """How much of the background runs here."""
        self._behind = False
        """More of it waits until some of that ends."""
        self._pass_behind_at = 0.0
        self._most_background = max(1, int(settings.worker_calls * BACKGROUND_PLACES))

    @property
    def ready(self) -> bool:
        """It hears its control channel and knows its deployments."""
        return self.control.ready and self.room.deployments.loaded.is_set()

    async def start(self) -> None:
        """Starts renewing, listening and reloading; does not wait for Redis or PostgreSQL."""
        self.control.begin()
        for service in (self.room.leases.run(), self.room.deployments.run(), self.room.turns.run()):
            self._services.append(asyncio.create_task(service))

    async def run(self, job: str) -> None:
        """One job from claim to end."""
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await complete(self.room, job)
        finally:
            self._running.discard(task)

    async def take(self, places: Places) -> None:
        """Jobs that wait, from claim to end, as many as there are places for. The message's own place is one of them."""
        if self._waiting:
            return  # whoever waits for a calmer moment takes these too, and calls again
        self._waiting = True
        try:
            calm = await self._calm()
        finally:
            self._waiting = False
        more = places.reserve(MOST_TAKEN - 1) if calm else 0
        task = asyncio.current_task()
        assert task is not None
        self._taking.add(task)  # a drain waits for what is taken just now
        try:
            listening = self.places is not None and not self._draining
            claims = await self._claimed(1 + more, listening=listening)
        finally:
            self._taking.discard(task)
        left = max(1, len(claims))
        places.release(1 + more - left)

        async def run(claim: running.Claim) -> None:
            nonlocal left
            await carry_out(self.room, claim)
            left -= 1
            if left:
                places.release(1)
            self._background -= claim.background
            self._look_behind()

        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(run(claim)) for claim in claims]
        for task in tasks:
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        await asyncio.gather(*tasks)

    async def _claimed(self, places: int, *, listening: bool) -> list[running.Claim]:
        """Jobs for so many places; what the background may have of them is set aside until it is known how many it got."""
        room = max(0, min(places, self._most_background - self._background))
        self._background += room
        got = 0
        try:
            claims, self._behind = await take(self.room, places, room, listening=listening)
            got = sum(claim.background for claim in claims)
        finally:
            self._background -= room - got
        self._look_behind()  # some may have ended meanwhile, or another take have needed less
        return claims

    async def _calm(self) -> bool:
        """Waits while the calls that are open keep the loop busy for long in each tick: with more of them all would be
        late, and waiting jobs keep their order and their front ends' patience. False: it took too long; one is taken.
        """
        until = time.monotonic() + LONGEST_PAUSE_S
        while not await self._quick():
            if time.monotonic() > until:
                return False
            await asyncio.sleep(PAUSE_S)
        return True

    async def _quick(self) -> bool:
        """Whether a tick of the loop is short, as far as the open calls are to blame."""
        if len(self._running) < FEW_CALLS:
            return True
        began = time.monotonic()
        await asyncio.sleep(0)
        return time.monotonic() - began < self._settings.worker_tick_s

    def _called(self) -> None:
        """Jobs wait, and this worker is awake."""
        task = asyncio.get_running_loop().create_task(self._answer_call())
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _answer_call(self) -> None:
        """Takes jobs, or lets another worker know where there is no place for them, or no time."""
        places = self.places
        if places is not None and not self._draining and await self._quick() and places.reserve(1):
            try:
                await self.take(places)
            finally:
                places.release(1)
            if self._behind and time.monotonic() >= self._pass_behind_at:
                self._pass_behind_at = time.monotonic() + BEHIND_S
                await self._pass_on()
        else:
            await self._pass_on()

    def _look_behind(self) -> None:
        """Work of the background that was left waiting comes in as soon as it may."""
        if self._behind and self._background < self._most_background:
            self._behind = False
            self._called()

    async def _pass_on(self) -> None:
        try:
            await running.pass_on(self.room.redis, self.id)
        except (RedisError, OSError) as error:
            log.warning("call_not_passed_on", error=str(error))  # the jobs' front ends call again

    def leave(self) -> None:
        """The process will end: from now on others take what this worker is called for. Safe in any thread."""
        self._draining = True

    async def drain(self, seconds: float) -> None:
        """Waits for open calls that long. What is left then is handed to other workers, or stopped and settled."""
        until = time.monotonic() + seconds
        self.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PASS_ON_S):
                await self._pass_on()
        while (left := self._running | self._taking) and time.monotonic() < until:
            await asyncio.wait(left, timeout=until - time.monotonic())
        for call in self.room.leases.calls():
            if call.delivered == 0:
                await self._hand_over(call)
            call.stop("shutdown")
        if self._running:
            await asyncio.wait(set(self._running), timeout=SETTLE_S)
        for task in list(self._running):
            task.cancel()

    async def _hand_over(self, call: Call) -> None:
        """Lets the lease lapse now and calls another worker: the client need not notice."""
        if call.ending or call.stop_reason is not None:
            return
        call.stop("lost")
        try:
            await running.renew(self.room.redis, [call.heartbeat()], 0)
            await admission.republish(self.room.redis, call.id)
        except (RedisError, OSError) as error:
            log.warning("hand_over_failed", job=call.id, error=str(error))

    async def close(self) -> None:
        """Stops the services and closes the connections."""
        for service in self._services:
            service.cancel()
        for service in self._services:
            with contextlib.suppress(asyncio.CancelledError):
                await service
        for task in list(self.room.background):
            task.cancel()
        await self.control.aclose()
        await self.room.http.aclose()
        await self.room.pictures.aclose()
        with contextlib.suppress(RedisError, OSError):
            await self.room.redis.aclose()

    def _on_control(self, payload: bytes) -> None:
        try:
            control = decode_control(payload)
        except msgspec.DecodeError as error:
            log.warning("control_message_unreadable", error=str(error))
            return
        if control.verb == "take":
            self._called()
        elif control.verb == "resend":
            self.publisher.resend(control.job, control.seq, control.reply)
        elif (call := self.room.leases.find(control.job)) is not None:
            call.stop("disowned" if control.free else "cancelled")

    def _on_news(self, payload: bytes) -> None:
        try:
            news = decode_news(payload)
        except msgspec.DecodeError as error:
            log.warning("news_undecodable", error=str(error))
            return
        if news.kind == "shut":
            self.room.turns.shut(news.id)
        if news.kind == "deployments":
            self.room.deployments.refresh()

    def _nobody(self, reply: str) -> None:
        log.warning("nobody_listens", channel=reply)
        self._stop_channel(reply)

    def measure(self) -> None:
        """Brings the gauges up to date that nothing else keeps."""
        metrics.KEPT_BYTES.set(self.publisher.kept_bytes)
        metrics.PLACES.set(self._settings.worker_calls)
