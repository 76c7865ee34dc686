"""Admission: identity, catalogue and body become one placement; every refusal becomes the right answer.

What may be a matter of moments (a version on its way, a window being rebuilt) is tried again within the request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import structlog
from redis.exceptions import BusyLoadingError, RedisError, ResponseError

from api import metrics
from api.auth import Identities
from api.dialects.chat import Size
from api.end_users import hide
from api.errors import CallTooLarge
from api.limits import Limits, limits_of
from api.pressure import Pressure, overloaded
from api.quote import Quote, quote
from api.sources import EpochLoader, SourceAway
from gateway import tracing
from gateway.accounts.identity import Identity
from gateway.catalogue.model import Model
from gateway.catalogue.snapshot import Snapshot
from gateway.credit import admission
from gateway.credit.admission import Once, Placed, Placement, Refused
from gateway.credit.scripts import AsyncExecutor
from gateway.errors import Conflict, CreditLimitExceeded, GatewayError, RateLimitExceeded, ServiceUnavailable
from gateway.guardrails.personal import Policy
from gateway.settings import Settings
from gateway.wire import ids
from gateway.wire.event import UsageEvent, encode_event
from gateway.wire.job import Endpoint, Job, Surface, encode_job

LEAST_CAP = 16
"""Output tokens below which a call that asked for more is refused instead of cut: a stump of an answer helps nobody."""
STALE_PATIENCE_S = 2.0
"""How long a version that PostgreSQL has may take to reach the window."""
REBUILD_PATIENCE_S = 1.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.01, 0.25
END_PAUSE_S = 1.0
"""When to ask again for what is free once another call ends, a slot or the room of its body: nobody knows when that is."""

DECISIVE = ("models", "fallbacks", "domestic_only", "no_training", "mask_kinds", "moderation", "words_version")
"""What of an identity a call is decided by before it is placed: checks, models, providers."""

log = structlog.get_logger()
T = TypeVar("T")


class Outdated(Exception):
    """The call was decided by what its identity is no more: nothing is taken, and ``identity`` is the newest."""

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity.key_id)
        self.identity = identity


async def by_newest(identity: Identity, decide: Callable[[Identity], Awaitable[T]]) -> T:
    """What ``decide`` makes of the identity; of a newer one where admission knows of a change that it has not heeded."""
    while True:
        try:
            return await decide(identity)
        except Outdated as outdated:
            identity = outdated.identity


class Call(msgspec.Struct, frozen=True):
    """One call as the client meant it, checked. ``cap`` is output tokens for each of ``choices``."""

    surface: Surface
    endpoint: Endpoint
    asked: str
    models: list[Model]
    size: Size
    choices: int
    cap: int
    stream: bool
    include_usage: bool
    body: bytes
    title: str | None = None
    user: str | None = None
    routing: bytes = b""
    trace: str | None = None
    background: bool = False


class Admitted(msgspec.Struct, frozen=True):
    """A placed job and the limits it was counted under, in the order of ``placed.remaining``."""

    placed: Placed
    limits: Limits


class Admission:
    """Places jobs.

    Args:
        settings: limits and times.
        redis: the process's shared line.
        identities: to load an identity again where the window knows a newer one.
        epochs: to learn under which epoch the window is open.
        channel: where this process hears frames.
        find: finds the job of a placement whose reply was lost, by the digits of its id (``api.unheard``).
        pressure: is told where the queue refuses.
    """

    def __init__(
        self,
        settings: Settings,
        redis: AsyncExecutor,
        identities: Identities,
        epochs: EpochLoader,
        channel: str,
        find: Callable[[tuple[str, str]], Awaitable[str | None]],
        pressure: Pressure,
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._identities = identities
        self._epochs = epochs
        self._channel = channel
        self._find = find
        self._pressure = pressure
        self._sealer = settings.sealer("job")
        self._hash_key = settings.hash_key
        self._epoch = ""
        self._learning: asyncio.Future[str] | None = None
        self._ahead_ms = 0

    def now_ms(self) -> int:
        """Redis's clock, as near as the last admission told."""
        return int(time.time() * 1000) + self._ahead_ms

    async def admit(
        self, snapshot: Snapshot, identity: Identity, sha256: bytes, call: Call, once: Once | None = None
    ) -> Admitted:
        """Places the call, under the claim of its Idempotency-Key if it has one.

        Raises the refusal as a member of the error tree, or ``Outdated``; nothing is taken then.
        """
        if not tracing.on():
            return await self._admit(snapshot, identity, sha256, call, once)
        span = tracing.start("admission", "producer", parent=tracing.PLACE.get()) if tracing.PLACE.get() else None
        error = ""
        try:
            call = msgspec.structs.replace(call, trace=tracing.header(span))
            return await self._admit(snapshot, identity, sha256, call, once)
        except GatewayError as refused:
            error = type(refused).__name__
            raise
        finally:
            tracing.end(span, error=error)

    async def _admit(
        self, snapshot: Snapshot, identity: Identity, sha256: bytes, call: Call, once: Once | None
    ) -> Admitted:
        body, user = hide(self._hash_key, identity.org_id, call.body, call.user)
        call = msgspec.structs.replace(call, body=body, user=user)
        at_ms, began = self.now_ms(), time.monotonic()
        since: dict[str, float] = {}
        pause = FIRST_PAUSE_S
        if not self._epoch:
            await self._learn_epoch()  # a process's first calls: without it each of them would be refused once
        while True:
            limits = limits_of(identity, call.models[0].id)
            placement = self._placement(snapshot, identity, call, at_ms, limits, once)
            answer = await self._place(placement)
            if isinstance(answer, Placed):
                self._ahead_ms = answer.now_ms - int(time.time() * 1000)
                metrics.ADMITTED.inc()
                metrics.ADMISSION_SECONDS.observe(time.monotonic() - began)
                return Admitted(answer, limits)
            # From its first refusal for this reason on: a call that waited for its turn on a busy machine has not yet
            # been tried with what can be learned from the refusal.
            now = time.monotonic()
            waited = now - since.setdefault(answer.reason, now)
            if answer.reason == "terms" and waited < STALE_PATIENCE_S:
                at_ms = answer.now_ms
                self._ahead_ms = at_ms - int(time.time() * 1000)
            elif answer.reason == "stale" and waited < STALE_PATIENCE_S:
                newer = await self._newer(identity, sha256)
                if any(getattr(newer, name) != getattr(identity, name) for name in DECISIVE):
                    raise Outdated(newer)
                identity = newer
                pause = await _rest(pause, first=not waited)
            elif answer.reason == "rebuilding" and waited < REBUILD_PATIENCE_S:
                if self._epoch == placement.window_epoch:  # else another request has learnt it meanwhile
                    await self._learn_epoch()
                pause = await _rest(pause, first=self._epoch != placement.window_epoch)
            else:
                metrics.REFUSALS.labels(answer.reason).inc()
                metrics.ADMISSION_SECONDS.observe(now - began)
                if answer.reason == "queue" and not call.background:
                    self._pressure.close(identity.org_id, answer.retry_ms / 1000)
                raise refusal(answer, placement)
            metrics.RETRIES.labels(answer.reason).inc()

    async def _place(self, placement: Placement) -> Placed | Refused:
        try:
            return await admission.place(self._redis, placement)
        except (RedisError, OSError) as exc:
            # carried out or not: only a connection that was never made leaves no doubt
            job = None if _unsent(exc) else await self._find(placement.digits)
            if job is not None:
                return Placed(job, placement.cap, self.now_ms(), 0, [], [])
            metrics.REFUSALS.labels("redis").inc()
            log.warning("redis_away", reason=type(exc).__name__)
            raise ServiceUnavailable() from exc

    async def _newer(self, identity: Identity, sha256: bytes) -> Identity:
        """The identity as PostgreSQL has it, made known to the window. Raises ``InvalidApiKey``."""
        fresh = await self._identities.reload(sha256)
        try:
            await admission.seed_key(self._redis, fresh.key_id, fresh.key_version, fresh.spent_micro)
            await admission.seed_org(self._redis, fresh.org_id, fresh.org_version)
        except (RedisError, OSError) as exc:
            raise ServiceUnavailable() from exc
        if fresh.org_id != identity.org_id:
            raise ServiceUnavailable()
        return fresh

    async def _learn_epoch(self) -> None:
        """The window's epoch as PostgreSQL has it: asked for once, however many requests find theirs out of date."""
        if self._learning is None:
            self._learning = asyncio.ensure_future(self._epochs.window_epoch())
            self._learning.add_done_callback(self._learnt)
        try:
            self._epoch = await asyncio.shield(self._learning)
        except SourceAway as exc:
            metrics.REFUSALS.labels("postgres").inc()
            raise ServiceUnavailable() from exc

    def _learnt(self, learning: asyncio.Future[str]) -> None:
        self._learning = None
        # the exception is looked at even where every request that asked has gone
        if not learning.cancelled() and learning.exception() is None:
            self._epoch = learning.result()  # in the same tick: whoever comes next need not ask again

    def _placement(
        self, snapshot: Snapshot, identity: Identity, call: Call, at_ms: int, limits: Limits, once: Once | None
    ) -> Placement:
        s = self._settings
        terms = quote(snapshot, call.models, call.size, call.choices, identity.policy, at_ms)
        month_from, month_until = ids.month_bounds_ms(at_ms)
        digits = ids.random_parts()
        return Placement(
            window_epoch=self._epoch,
            org=identity.org_id,
            key=identity.key_id,
            org_version=identity.org_version,
            key_version=identity.key_version,
            digits=digits,
            valid_from_ms=max(terms.valid_from_ms, month_from),
            valid_until_ms=min(terms.valid_until_ms, month_until),
            month=ids.month_of(at_ms),
            prepaid=identity.prepaid,
            month_limit_micro=identity.month_limit_micro,
            key_limit_micro=identity.key_limit_micro,
            input_micro=terms.input_micro,
            unit_micro=terms.unit_micro,
            cap=call.cap,
            least_cap=min(call.cap, LEAST_CAP),
            org_slots=identity.org_slots,
            key_slots=identity.key_slots,
            rates=limits.rates,
            queue_max=s.flex_queue_max if call.background else s.queue_max,
            lease_ms=int((s.flex_wait_s if call.background else s.placed_lease_s) * 1000),
            grace_ms=int(s.expiry_grace_s * 1000),
            body=self._sealer.seal(encode_job(_job(snapshot, identity, call, terms)), "".join(digits).encode()),
            body_ttl_s=s.body_ttl_s,
            reply=self._channel,
            base_event=encode_event(_base_event(identity, call)),
            token_limits=limits.tokens,
            tokens=terms.input_bound + call.cap * call.choices if limits.tokens else 0,
            model_slots=limits.slots,
            once=once,
            background=call.background,
            open_body_bytes=s.open_body_bytes,
            longest_wait_ms=int((s.flex_wait_s if call.background else s.queue_wait_s) * 1000),
        )


def refusal(answer: Refused, placement: Placement) -> GatewayError:
    """A refusal as the error that the caller sees."""
    match answer.reason:
        case "rate":
            limit = next((rate.limit for rate in placement.rates if rate.scope == answer.scope), 0)
            return RateLimitExceeded(retry_after_s=answer.retry_ms / 1000, details={"limit": limit})
        case "tokens" | "large":
            limit = next((each.limit for each in placement.token_limits if each.scope == answer.scope), 0)
            details = {"limit": limit, "requested": placement.tokens, "unit": "tokens"}
            if answer.reason == "large":
                return CallTooLarge(details=details, retry_after_s=60)
            return RateLimitExceeded(retry_after_s=answer.retry_ms / 1000, details=details)
        case "slots":
            return RateLimitExceeded(retry_after_s=END_PAUSE_S)
        case "credit":
            return CreditLimitExceeded()
        case "claim":
            return Conflict("Another request with this Idempotency-Key has begun.", code="idempotency_in_progress")
        case "queue":
            return overloaded(answer.retry_ms / 1000)
        case "bodies":
            return overloaded(END_PAUSE_S)
        case _:
            return ServiceUnavailable(retry_after_s=1.0)


async def _rest(pause: float, *, first: bool) -> float:
    """Waits, but not before the first try with what was just learned. Returns the next pause in seconds."""
    if first:
        return pause
    await asyncio.sleep(pause)
    return min(pause * 2, LONGEST_PAUSE_S)


def _unsent(error: Exception) -> bool:
    """Whether Redis cannot have got the command, or has answered it with an error."""
    return isinstance(error, ResponseError | BusyLoadingError) or "connecting to" in str(error)


def _job(snapshot: Snapshot, identity: Identity, call: Call, terms: Quote) -> Job:
    return Job(
        org=identity.org_id,
        key=identity.key_id,
        surface=call.surface,
        endpoint=call.endpoint,
        asked=call.asked,
        models=[model.id for model in call.models],
        terms=terms.terms,
        catalogue=snapshot.version,
        stream=call.stream,
        include_usage=call.include_usage,
        policy=identity.policy,
        body=call.body,
        input_bound=terms.input_bound,
        title=call.title,
        user=call.user,
        routing=call.routing,
        trace=call.trace,
        domestic_only=identity.domestic_only,
        no_training=identity.no_training,
        mask_output=_masked_in_answers(identity),
        background=call.background,
    )


def _masked_in_answers(identity: Identity) -> list[str]:
    if not identity.mask_output:
        return []
    return [kind for kind, action in Policy.of(identity.mask_kinds).actions.items() if action != "off"]


def _base_event(identity: Identity, call: Call) -> UsageEvent:
    """What is booked where nobody ever claims the job. Its id is made by the script; the stream's entry names it."""
    return UsageEvent(
        job="",
        org=identity.org_id,
        key=identity.key_id,
        asked=call.asked,
        surface=call.surface,
        endpoint=call.endpoint,
        stream=call.stream,
        title=call.title,
        user=call.user,
        model=call.models[0].id,
        trace=call.trace,
    )
