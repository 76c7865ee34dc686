"""The credit window of a Redis that came back: is it still ours, and building it anew from PostgreSQL.

Everything here runs under the settler's lock.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from itertools import chain
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, text

from billing import metrics
from billing.settlement import settle
from gateway.credit import upkeep
from gateway.credit.upkeep import OrgWindow
from gateway.wire import ids, keys

log = structlog.get_logger(__name__)

CELL = "main"


def is_ours(redis: Any, epoch: str, run_id: str | None) -> bool:
    """Whether this Redis holds the window of PostgreSQL's epoch and has not restarted since it was built.

    A restart may have lost the last second of the append-only file: only a rebuild makes the window exact again.
    """
    return upkeep.identity(redis) == (epoch, run_id)


def epoch_and_run_id(connection: Connection) -> tuple[str, str | None]:
    """The window's epoch as PostgreSQL has it, and the Redis server process that it was built in."""
    row = connection.execute(
        text("SELECT epoch, redis_run_id FROM window_epoch WHERE cell = :cell"), {"cell": CELL}
    ).one()
    return str(row.epoch), row.redis_run_id


def rebuild(redis: Any, connection: Connection, batch: int) -> int:
    """Closes the window, settles, writes it from PostgreSQL, takes open holds over, opens it under the next epoch.

    Returns how many holds were taken over. Killed anywhere, the window stays closed and the next call starts again:
    the epoch is in PostgreSQL before Redis has it. Ends during the rebuild find the window closed, append their event
    without a hold and are charged through the outbox.
    """
    began = time.monotonic()
    upkeep.rebuild_begin(redis)
    while settle(redis, connection, batch) >= batch:
        pass
    _discharge_dead(redis)
    _drop_settled_jobs(redis, connection)
    windows = _windows(connection)
    with connection.begin():
        epoch = connection.execute(
            text(
                "UPDATE window_epoch SET epoch = epoch + 1, redis_run_id = :run_id, changed_at = now() "
                "WHERE cell = :cell RETURNING epoch"
            ),
            {"run_id": upkeep.identity(redis)[1], "cell": CELL},
        ).scalar_one()
    holds = upkeep.rebuild_end(redis, windows, str(epoch))
    metrics.REBUILDS.inc()
    log.warning(
        "window_rebuilt",
        epoch=epoch,
        organisations=len(windows),
        holds=holds,
        seconds=round(time.monotonic() - began, 3),
    )
    return holds


def _windows(connection: Connection) -> list[OrgWindow]:
    """Every organisation's window as PostgreSQL has it at one moment: balance and outbox number belong together."""
    # Limits look at the current month only; the month before is kept for calls that began in it.
    since = ids.month_of(int((dt.datetime.now(dt.UTC) - dt.timedelta(days=32)).timestamp() * 1000))
    with connection.begin():
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        months: dict[uuid.UUID, list[tuple[str, int]]] = {}
        for row in connection.execute(
            text("SELECT org, month, spent_micro FROM window_month WHERE month >= :since"), {"since": since}
        ):
            months.setdefault(row.org, []).append((row.month, row.spent_micro))
        owned: dict[uuid.UUID, list[tuple[str, int, int]]] = {}
        for row in connection.execute(
            text(
                "SELECT k.org, k.id, k.version, coalesce(w.spent_micro, 0) AS spent_micro "
                "FROM api_key k LEFT JOIN window_key w ON w.key = k.id WHERE k.state <> 'deleted'"
            )
        ):
            owned.setdefault(row.org, []).append((str(row.id), row.version, row.spent_micro))
        return [
            OrgWindow(
                str(row.id), row.version, row.balance_micro, row.seq, months.get(row.id, []), owned.get(row.id, [])
            )
            for row in connection.execute(
                text(
                    "SELECT o.id, o.version, coalesce(w.balance_micro, 0) AS balance_micro, coalesce(s.seq, 0) AS seq "
                    "FROM organisation o LEFT JOIN window_org w ON w.org = o.id "
                    "LEFT JOIN organisation_seq s ON s.org = o.id"
                )
            )
        ]


def _drop_settled_jobs(redis: Any, connection: Connection) -> None:
    """Forgets open jobs that the books know as ended.

    Redis may have lost the second in which a job ended although its event was settled. Its hold would be taken over,
    and its second end charged to the window again.
    """
    jobs = [job.decode() for job in redis.execute_command("ZRANGE", keys.LEASES, 0, -1)]
    if not jobs:
        return
    with connection.begin():
        ended = connection.execute(
            text(
                "SELECT u.job FROM unnest(CAST(:jobs AS uuid[]), CAST(:months AS text[])) AS open (job, month) "
                "JOIN usage u ON u.month = open.month AND u.job = open.job"
            ),
            {"jobs": jobs, "months": [ids.month_of(ids.milliseconds(job)) for job in jobs]},
        ).scalars()
        done = [job.hex for job in ended]
    for job in done:
        pipe = redis.pipeline(transaction=True)
        pipe.execute_command("ZREM", keys.LEASES, job)
        pipe.execute_command("DEL", keys.JOB_PREFIX + job, keys.BODY_PREFIX + job)
        pipe.execute()
        log.warning("settled_job_was_open_again", job=job)


def _discharge_dead(redis: Any) -> None:
    """Marks poison events as not charged to the window: the one built now knows nothing of them."""
    for entry, fields in redis.execute_command("XRANGE", keys.DEAD, "-", "+"):
        if fields.get(b"hold") == b"1":
            pipe = redis.pipeline(transaction=True)
            pipe.execute_command("XADD", keys.DEAD, "*", *chain(*(fields | {b"hold": b"0"}).items()))
            pipe.execute_command("XDEL", keys.DEAD, entry)
            pipe.execute()


def shown(engine: Engine, redis: Any) -> dict[str, Any]:
    """The window as operators see it: per organisation, and what is open or unsettled. Money in micro-won."""
    with engine.connect() as connection:
        epoch, _ = epoch_and_run_id(connection)
        orgs = [str(org) for org in connection.execute(text("SELECT id FROM organisation ORDER BY id")).scalars()]
    readings = {org: reading for org in orgs if (reading := upkeep.read(redis, org)) is not None}
    return {
        "organisations": {
            org: {"balance_micro": r.balance_micro, "held_micro": r.held_micro, "slots": r.slots}
            for org, r in readings.items()
        },
        "open": redis.execute_command("GET", keys.EPOCH) == epoch.encode(),
        "open_jobs": upkeep.open_jobs(redis),
        "unsettled": int(redis.execute_command("XLEN", keys.USAGE)),
        "dead": int(redis.execute_command("XLEN", keys.DEAD)),
    }
