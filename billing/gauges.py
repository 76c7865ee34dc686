"""What billing reads off the two stores for Prometheus: queues, holds, backlogs, ages. The settler's turn pays for it.

Counted are rows that partial indexes hold, lengths that Redis keeps, and the first entry of what is in order; nothing
grows with the number of organisations or calls.
"""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import structlog
from sqlalchemy import Connection, text

from billing import metrics, window
from gateway.finance.rates import staleness
from gateway.wire import ids, keys

log = structlog.get_logger(__name__)

SLOW_S = 15.0
"""How often is read what changes slowly, or costs more than a moment: the usual interval of a scrape."""
LOOKED_AT = 100
"""Organisations whose oldest waiting job is looked at: their turns come round, so the oldest is among the first."""

_BACKLOGS = text("""
SELECT (SELECT count(*) FROM outbox WHERE applied_at IS NULL) AS outbox,
    (SELECT extract(epoch FROM now() - min(created_at)) FROM outbox WHERE applied_at IS NULL) AS outbox_age,
    (SELECT count(*) FROM topup_request WHERE state = 'pending') AS topups,
    (SELECT count(*) FROM alert_delivery WHERE state = 'waiting' AND channel = 'webhook') AS webhook,
    (SELECT count(*) FROM alert_delivery WHERE state = 'waiting' AND channel = 'mail') AS mail,
    (SELECT extract(epoch FROM now() - min(next_at)) FROM alert_delivery WHERE state = 'waiting') AS due,
    (SELECT count(*) FROM task WHERE finished_at IS NULL AND state = 'waiting') AS waiting,
    (SELECT count(*) FROM task WHERE finished_at IS NULL AND state = 'running') AS running,
    (SELECT count(*) FROM task WHERE finished_at IS NULL AND kind LIKE 'export.%') AS exports,
    (SELECT extract(epoch FROM now() - min(asked_at)) FROM task
        WHERE finished_at IS NULL AND state = 'waiting') AS task_age
""")
_LAST_RUN = text("SELECT extract(epoch FROM at) AS at, found FROM invariant_run ORDER BY id DESC LIMIT 1")
_SIZE = text("SELECT pg_database_size(current_database())")


class Gauges:
    """Reads them; one for each settlement loop."""

    def __init__(self) -> None:
        self._slow_at = 0.0

    def read(self, redis: Any, connection: Connection) -> None:
        """Brings all gauges up to date that no event moves. Raises what the stores raise when they are away."""
        read_queues(redis, connection)
        if time.monotonic() >= self._slow_at:
            self._slow_at = time.monotonic() + SLOW_S
            read_backlogs(connection)
            read_servers(redis)


def read_queues(redis: Any, connection: Connection) -> None:
    """What calls wait in, and what of them is not booked yet."""
    with connection.begin():
        epoch, _ = window.epoch_and_run_id(connection)
    pipe = redis.pipeline(transaction=False)
    for command in (
        ("TIME",), ("GET", keys.EPOCH), ("GET", keys.WAITING), ("ZCARD", keys.LEASES), ("XLEN", keys.USAGE),
        ("XRANGE", keys.USAGE, "-", "+", "COUNT", 1), ("XLEN", keys.DEAD), ("LRANGE", keys.READY, 0, LOOKED_AT - 1),
        ("HGET", keys.LONG, "all"),
    ):  # fmt: skip
        pipe.execute_command(*command)
    clock, opened, waiting, open_jobs, unsettled, oldest, dead, orgs, bodies = pipe.execute()
    now_ms = clock[0] * 1000 + clock[1] // 1000
    metrics.WINDOW_OPEN.set(opened == epoch.encode())
    metrics.JOBS_WAITING.set(int(waiting or 0))
    metrics.JOBS_WAITING_AGE.set(_longest_wait_s(redis, orgs, now_ms))
    metrics.JOBS_OPEN.set(open_jobs)
    metrics.BODIES_OPEN.set(int(bodies or 0))
    metrics.LEASES_LAPSED.set(redis.execute_command("ZCOUNT", keys.LEASES, "-inf", now_ms))
    metrics.UNSETTLED.set(unsettled)
    metrics.UNSETTLED_AGE.set(_age_s(now_ms, int(oldest[0][0].split(b"-")[0])) if oldest else 0)
    metrics.DEAD.set(dead)


def _longest_wait_s(redis: Any, orgs: list[bytes], now_ms: int) -> float:
    if not orgs:
        return 0.0
    pipe = redis.pipeline(transaction=False)
    for org in orgs:
        pipe.execute_command("LINDEX", keys.ready(org.decode()), 0)
    return max((_age_s(now_ms, ids.milliseconds(job.decode())) for job in pipe.execute() if job), default=0.0)


def _age_s(now_ms: int, then_ms: int) -> float:
    return max(0, now_ms - then_ms) / 1000


def read_backlogs(connection: Connection) -> None:
    """What PostgreSQL holds of work that waits, what the last look at the books found, how old the rate is."""
    with connection.begin():
        row = connection.execute(_BACKLOGS).one()
        run = connection.execute(_LAST_RUN).one_or_none()
        rate = staleness(connection, dt.datetime.now(ids.SEOUL).date())
        metrics.DATABASE_BYTES.set(connection.execute(_SIZE).scalar_one())
    metrics.OUTBOX.set(row.outbox)
    metrics.OUTBOX_AGE.set(max(0, row.outbox_age or 0))
    metrics.TOPUPS_WAITING.set(row.topups)
    metrics.DELIVERIES.labels("webhook").set(row.webhook)
    metrics.DELIVERIES.labels("mail").set(row.mail)
    metrics.DELIVERY_OVERDUE.set(max(0, row.due or 0))
    metrics.TASKS_OPEN.labels("waiting").set(row.waiting)
    metrics.TASKS_OPEN.labels("running").set(row.running)
    metrics.EXPORTS_OPEN.set(row.exports)
    metrics.TASK_AGE.set(max(0, row.task_age or 0))
    metrics.RATE_AGE.set(rate.business_days)
    if run is not None:  # found by whichever process, and before this one started
        metrics.INVARIANTS_AT.set(run.at)
        for name, count in run.found.items():
            metrics.INVARIANT.labels(name).set(count)


def read_servers(redis: Any) -> None:
    """How Redis is, and which processes listen to it."""
    memory, persistence = redis.info("memory"), redis.info("persistence")
    metrics.REDIS_BYTES.set(memory["used_memory"])
    metrics.REDIS_MOST_BYTES.set(memory.get("maxmemory", 0))
    metrics.REDIS_WRITES.set(
        persistence.get("aof_enabled") == 1 and persistence.get("aof_last_write_status", "ok") == "ok"
    )
    for process, prefix in (("api", keys.REPLY_PREFIX), ("worker", keys.CONTROL_PREFIX)):
        metrics.LISTENING.labels(process).set(len(redis.execute_command("PUBSUB", "CHANNELS", f"{prefix}*")))
