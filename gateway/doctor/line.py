"""What Redis says: how it is set up, the credit window, who listens, what waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import Engine, text

from gateway.doctor.finding import Finding, fail, graded, ok, warn
from gateway.settings import Settings
from gateway.wire import keys

OLDEST = (7, 2)
LEAST_OUTPUT_BYTES = 64 * 1024 * 1024
"""Redis's own limit for subscribers is 8 MB over 60 s: one busy reply channel passes that."""
SKEW_WARN_S, SKEW_FAIL_S = 2.0, 60.0
"""Prices and months are decided by Redis's clock; sessions, leases of tasks and rates by the others'."""
WAIT_WARN_S, WAIT_FAIL_S = 2.0, 30.0
SETTLE_WARN_S, SETTLE_FAIL_S = 60.0, 600.0
LAPSED_WARN = 100
MEMORY_WARN, MEMORY_FAIL = 0.75, 0.9


def server(redis: Any) -> Iterator[Finding]:
    """Version, persistence, eviction, output limits, memory."""
    info = {name: value for part in ("server", "persistence", "memory") for name, value in redis.info(part).items()}
    named = "valkey" if "valkey_version" in info else "redis"
    version = str(info[f"{named}_version"])
    found = tuple(int(part) for part in version.split(".")[:2])
    if found < OLDEST:
        yield fail("redis", f"{named} {version}", "Valkey, or Redis 7.2 or newer, is needed")
    else:
        yield ok("redis", f"{named} {version} answers")
    if not info.get("aof_enabled"):
        yield fail(
            "redis persistence", "appendonly is off", "set `appendonly yes`: unsettled usage must outlive a restart"
        )
    elif info.get("aof_last_write_status", "ok") != "ok":
        yield fail("redis persistence", "the append-only file cannot be written", "make room on Redis's disk")
    else:
        yield ok("redis persistence", "append-only file")
    policy = info.get("maxmemory_policy")
    if policy == "noeviction":
        yield ok("redis eviction", "off")
    else:
        yield fail(
            "redis eviction",
            f"maxmemory-policy is {policy}",
            "set `maxmemory-policy noeviction`: holds and usage must not be forgotten",
        )
    most = int(info.get("maxmemory", 0))
    if most:
        share = int(info["used_memory"]) / most
        yield graded(
            "redis memory",
            share,
            MEMORY_WARN,
            MEMORY_FAIL,
            f"{share:.0%} used",
            "give Redis more: at the end of it nothing is admitted",
        )
    yield _output_limit(redis)


def _output_limit(redis: Any) -> Finding:
    advice = "set `client-output-buffer-limit pubsub 256mb 64mb 60`"
    try:
        said: str = redis.config_get("client-output-buffer-limit")["client-output-buffer-limit"]
    except (RedisError, KeyError):
        return warn(
            "redis output limit", "cannot be seen: CONFIG is not allowed", f"see to it that it is right: {advice}"
        )
    words = said.split()
    at = words.index("pubsub")
    hard, soft = int(words[at + 1]), int(words[at + 2])
    if any(0 < limit < LEAST_OUTPUT_BYTES for limit in (hard, soft)):
        return fail("redis output limit", f"{hard >> 20} MB, {soft >> 20} MB for subscribers", advice)
    return ok("redis output limit", f"{hard >> 20} MB, {soft >> 20} MB for subscribers")


def clocks(redis: Any, engine: Engine) -> Iterator[Finding]:
    """How far the three clocks are apart."""
    before = time.time()
    seconds, micro = redis.time()
    with engine.connect() as connection:
        there = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    after = time.time()
    skew = max(_outside(seconds + micro / 1e6, before, after), _outside(there, before, after))
    yield graded(
        "clocks",
        skew,
        SKEW_WARN_S,
        SKEW_FAIL_S,
        f"{skew:.1f} s apart at most",
        "let all machines follow one time server",
    )


def _outside(moment: float, before: float, after: float) -> float:
    return max(before - moment, moment - after, 0.0)


def window(redis: Any, engine: Engine) -> Iterator[Finding]:
    """Whether calls are admitted."""
    with engine.connect() as connection:
        row = connection.execute(text("SELECT epoch, redis_run_id FROM window_epoch")).one_or_none()
    opened: bytes | None = redis.get(keys.EPOCH)
    rebuild = "billing rebuilds it by itself within seconds; if it does not, `wonrouter window rebuild`"
    if row is None:
        yield fail("window", "there is no epoch in the database", "run `wonrouter migrate`")
    elif opened is None or opened.decode() != str(row.epoch):
        yield fail("window", "closed: every call is answered with 503", rebuild)
    elif row.redis_run_id != str(redis.info("server")["run_id"]):
        yield warn("window", "open, and Redis has restarted since it was built", rebuild)
    else:
        yield ok("window", f"open, epoch {row.epoch}")


def processes(redis: Any) -> Iterator[Finding]:
    """Who listens, and who settles."""
    for process, prefix in (("api", keys.REPLY_PREFIX), ("worker", keys.CONTROL_PREFIX)):
        count = len(redis.execute_command("PUBSUB", "CHANNELS", f"{prefix}*"))
        if count:
            yield ok(process, f"{count} listening")
        else:
            yield fail(process, "none listens", f"start `wonrouter {process}`; its /readyz says what it misses")
    settler: bytes | None = redis.get(keys.SETTLER)
    if settler:
        yield ok("billing", f"settles: {settler.decode()}")
    else:
        yield fail(
            "billing",
            "not heard for a quarter of a minute",
            "start `wonrouter billing`; its /readyz says what it misses",
        )


def queues(redis: Any, settings: Settings) -> Iterator[Finding]:
    """What waits: jobs, leases, usage events."""
    seconds, micro = redis.time()
    now_ms = seconds * 1000 + micro // 1000
    waiting, open_jobs = int(redis.get(keys.WAITING) or 0), int(redis.zcard(keys.LEASES))
    share = waiting / settings.queue_max
    yield graded(
        "queue",
        share,
        0.1,
        0.5,
        f"{waiting} jobs wait, {open_jobs} are open",
        "add workers: see JobsWait in docs/operations.md",
    )
    lapsed = int(redis.zcount(keys.LEASES, "-inf", now_ms))
    yield graded(
        "leases", lapsed, LAPSED_WARN, float("inf"), f"{lapsed} lapsed", "workers died, or billing does not sweep"
    )
    oldest = redis.xrange(keys.USAGE, count=1)
    age = max(0, now_ms - int(oldest[0][0].split(b"-")[0])) / 1000 if oldest else 0.0
    events = int(redis.xlen(keys.USAGE))
    yield graded(
        "settlement",
        age,
        SETTLE_WARN_S,
        SETTLE_FAIL_S,
        f"{events} events wait, the oldest for {age:.0f} s",
        "see SettlementLate in docs/operations.md",
    )
    dead = int(redis.xlen(keys.DEAD))
    yield graded(
        "dead letters", dead, 0, float("inf"), f"{dead}", "`wonrouter dead list` says why they could not be booked"
    )
