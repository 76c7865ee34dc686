"""The front end's side of a hold: place, cancel, publish again, make versions known."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gateway.credit import scripts
from gateway.credit.scripts import AsyncExecutor
from gateway.wire import keys
from gateway.wire.frame import Control, encode_control
from gateway.wire.job import CALL_MESSAGE, celery_message

NONE = -1
"""Stands for "no limit" wherever a limit is an integer."""


class RateLimit(msgspec.Struct, frozen=True):
    """At most ``limit`` requests in any 60 seconds for ``scope`` (``k:{key}``, ``o:{org}``, …)."""

    scope: str
    limit: int


class TokenLimit(msgspec.Struct, frozen=True):
    """At most ``limit`` tokens, input and output together, in any 60 seconds for ``scope``."""

    scope: str
    limit: int


class ModelSlots(msgspec.Struct, frozen=True):
    """How many calls of one model may be open at once, of the organisation and of the key; ``NONE`` = no limit."""

    model: str
    org: int = NONE
    key: int = NONE


class Once(msgspec.Struct, frozen=True):
    """The claim of an Idempotency-Key (``gateway.credit.once``): a job is placed only while it is the caller's."""

    record: str
    token: str


class Placement(msgspec.Struct, frozen=True):
    """All that admission checks and takes. Money in micro-won, times in milliseconds, ``NONE`` = no limit.

    The hold is ``input_micro + cap * unit_micro``; where the credit left covers only part of it, the cap shrinks, but
    never below ``least_cap``. ``valid_from_ms`` and ``valid_until_ms`` bound the moment for which price, rate and
    month were looked up: Redis's clock decides.
    """

    window_epoch: str
    org: str
    key: str
    org_version: int
    key_version: int
    digits: tuple[str, str]
    valid_from_ms: int
    valid_until_ms: int
    month: str
    prepaid: bool
    month_limit_micro: int
    key_limit_micro: int
    input_micro: int
    unit_micro: int
    cap: int
    least_cap: int
    org_slots: int
    key_slots: int
    rates: tuple[RateLimit, ...]
    queue_max: int
    lease_ms: int
    grace_ms: int
    body: bytes
    body_ttl_s: int
    reply: str
    base_event: bytes
    open_body_bytes: int
    """What the sealed bodies of open jobs may have together, as far as they are long; of one organisation half."""
    token_limits: tuple[TokenLimit, ...] = ()
    tokens: int = 0
    """What the call may use at most, as far as that is known; counted until its end says what it used."""
    model_slots: ModelSlots | None = None
    once: Once | None = None
    background: bool = False
    """Served where nobody else waits, or as every eighth; ``queue_max`` is then the background queue's."""
    longest_wait_ms: int = 60_000
    """A call that would wait longer for a worker is refused."""


class Placed(msgspec.Struct, frozen=True):
    """Admitted. ``hold_micro`` is held, ``cap`` output tokens are granted.

    Rates, then token limits, as given: places or tokens left, ms to reset.
    """

    job: str
    cap: int
    now_ms: int
    hold_micro: int
    remaining: list[int]
    reset_ms: list[int]


class Refused(msgspec.Struct, frozen=True):
    """Not admitted, nothing taken.

    ``rebuilding``: the window is being rebuilt or the caller's epoch is old. ``stale``: a version differs, load the
    identity again. ``terms``: look price, rate and month up for ``now_ms``. ``rate``: ``retry_ms`` until a place is
    free. ``tokens``: the same of tokens; ``large``: the call alone may use more than the limit. ``slots``, ``credit``:
    limits; ``scope`` says whose. ``bodies``: the bodies of open calls take too much room, in ``all`` or of this ``org``.
    ``queue``: too many wait (``all``, ``org``), or the call would wait too long (``wait``); ``retry_ms`` until that is
    over. ``claim``: the Idempotency-Key is not the caller's any more.
    """

    reason: Literal[
        "rebuilding", "stale", "terms", "rate", "tokens", "large", "slots", "bodies", "queue", "credit", "claim"
    ]
    scope: str = ""
    retry_ms: int = 0
    now_ms: int = 0


def _refused(answer: list[Any], placement: Placement) -> Refused:
    reason = answer[0].decode()
    if reason == "rate":
        return Refused("rate", scope=placement.rates[int(answer[2]) - 1].scope, retry_ms=int(answer[1]))
    if reason == "tokens":
        return Refused("tokens", scope=placement.token_limits[int(answer[2]) - 1].scope, retry_ms=int(answer[1]))
    if reason == "large":
        return Refused("large", scope=placement.token_limits[int(answer[1]) - 1].scope)
    if reason == "terms":
        return Refused("terms", now_ms=int(answer[1]))
    if reason == "queue":
        return Refused("queue", scope=answer[1].decode(), retry_ms=int(answer[2]))
    return Refused(reason, scope=answer[1].decode() if len(answer) > 1 else "")


async def place(redis: AsyncExecutor, p: Placement) -> Placed | Refused:
    """One atomic call: all limits checked, the hold taken and the job's message published, or nothing.

    Raises ``redis.RedisError`` where Redis does not answer; the job may then exist all the same, and its frames, which
    nobody awaits, make the relay cancel it.
    """
    slots = p.model_slots
    answer: list[Any] = await scripts.PLACE.run(
        redis,
        [
            keys.EPOCH, keys.org(p.org), keys.key(p.key), keys.LEASES, keys.CALL_QUEUE,
            *(keys.rate(r.scope) for r in p.rates), *(keys.tokens(t.scope) for t in p.token_limits),
        ],
        [
            p.window_epoch, p.org, p.key, p.org_version, p.key_version, *p.digits,
            p.valid_from_ms, p.valid_until_ms, p.month, int(p.prepaid), p.month_limit_micro, p.key_limit_micro,
            p.input_micro, p.unit_micro, p.cap, p.least_cap, p.org_slots, p.key_slots,
            p.queue_max, p.lease_ms, p.grace_ms, p.body, p.body_ttl_s, p.reply, p.base_event, CALL_MESSAGE,
            len(p.rates), *(r.limit for r in p.rates),
            len(p.token_limits), *(t.limit for t in p.token_limits), p.tokens,
            *(("", NONE, NONE) if slots is None else (keys.model_slots(slots.model), slots.org, slots.key)),
            *(("", "") if p.once is None else (p.once.record, p.once.token)),
            int(p.background), p.longest_wait_ms, p.open_body_bytes,
        ],
    )  # fmt: skip  # the order is the script's
    if answer[0] != b"ok":
        return _refused(answer, p)
    return Placed(
        job=answer[1].decode(),
        cap=int(answer[2]),
        now_ms=int(answer[3]),
        hold_micro=int(answer[4]),
        remaining=[int(n) for n in answer[5]],
        reset_ms=[int(n) for n in answer[6]],
    )


async def cancel(
    redis: AsyncExecutor, job: str, *, free: bool = False
) -> Literal["voided", "expired", "asked", "gone"]:
    """Ends an unclaimed or abandoned job at once; asks the worker of a running one to stop. ``free``: uncharged."""
    message = encode_control(Control("cancel", job, free=free))
    return (await scripts.CANCEL.run(redis, [], [job, message, int(free)])).decode()


async def known_jobs(redis: AsyncExecutor) -> set[str]:
    """The ids of all open jobs, and of those that ended a moment ago with an answer. For lost replies: it reads all."""
    jobs: list[bytes] = await redis.execute_command("ZRANGE", keys.LEASES, 0, -1)
    known = {job.decode() for job in jobs}
    cursor = b"0"
    while True:
        cursor, kept = await redis.execute_command("SCAN", cursor, "MATCH", keys.KEPT_PREFIX + "*", "COUNT", 2_000)
        known.update(name.decode().removeprefix(keys.KEPT_PREFIX) for name in kept)
        if int(cursor) == 0:
            return known


async def republish(
    redis: AsyncExecutor, job: str, *, claimed_only: bool = False
) -> Literal["sent", "again", "waiting", "running", "gone"]:
    """Calls a worker for the job unless one holds it under a live lease.

    ``sent``: nobody had claimed it (``claimed_only`` leaves it alone then: ``waiting``). ``again``: somebody had, and
    is gone.
    """
    args = [job, keys.CALL_QUEUE, celery_message(job), int(claimed_only), CALL_MESSAGE]
    return (await scripts.REPUBLISH.run(redis, [], args)).decode()


async def seed_key(redis: AsyncExecutor, key: str, version: int, spent_micro: int) -> None:
    """Makes a key's version known to the window; older versions never overwrite newer ones."""
    await scripts.SEED.run(redis, [keys.key(key)], [version, spent_micro])


async def seed_org(redis: AsyncExecutor, org: str, version: int) -> bool:
    """Makes an organisation's version known; False where the window does not know the organisation yet."""
    return await scripts.SEED.run(redis, [keys.org(org)], [version, ""]) != b"absent"
