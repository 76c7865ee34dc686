"""When a month's usage is complete: it is over, no call admitted in it is open, and every event of it is in the books.

The clock that counts is Redis's, for it makes the job ids. The order of looking matters: a call that ends leaves the
open jobs and enters the stream in one step, so whoever looks at the open jobs first and at the stream afterwards cannot
miss it between the two.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, text

from billing import window
from gateway.invoices.month import month_end
from gateway.wire import ids, keys

PAGE = 1_000


class NotCollectedError(ValueError):
    """The month is still collecting; the text says what is missing."""


def check_month(redis: Any, connection: Connection, month: str) -> None:
    """Raises ``NotCollectedError`` while calls of ``month`` can still arrive in the books."""
    end_ms = int(month_end(month).timestamp() * 1000)
    if now_ms(redis) < end_ms:
        raise NotCollectedError(
            f"{month} is not over: collecting ends after {month_end(month):%Y-%m-%d %H:%M} in Seoul"
        )
    check_until(redis, connection, end_ms)


def check_until(redis: Any, connection: Connection, before_ms: int) -> None:
    """Raises ``NotCollectedError`` while a call admitted before that moment (Unix, ms) is not in the books.

    Inside a transaction of the caller's.
    """
    if not window.is_ours(redis, *window.epoch_and_run_id(connection)):
        raise NotCollectedError("the credit window is being rebuilt: what is open is not known")
    open_jobs = sum(1 for job in _open_jobs(redis) if ids.milliseconds(job) < before_ms)
    if open_jobs:
        raise NotCollectedError(f"{open_jobs} calls admitted before then are still running")
    unsettled = sum(1 for job in _waiting(redis, keys.USAGE) if ids.milliseconds(job) < before_ms)
    if unsettled:
        raise NotCollectedError(f"{unsettled} calls admitted before then wait for settlement")
    dead = sum(1 for job in _waiting(redis, keys.DEAD) if ids.milliseconds(job) < before_ms)
    if dead:
        raise NotCollectedError(f"{dead} usage events could not be booked: see `wonrouter dead list`")


def note_collected(connection: Connection, month: str) -> None:
    """Remembers that the month was complete."""
    connection.execute(
        text("INSERT INTO month_collected (month) VALUES (:month) ON CONFLICT DO NOTHING"), {"month": month}
    )


def now_ms(redis: Any) -> int:
    """Redis's clock (Unix, ms)."""
    seconds, micro = redis.execute_command("TIME")
    return int(seconds) * 1000 + int(micro) // 1000


def is_over(redis: Any, moment: dt.datetime) -> bool:
    """Whether Redis's clock has passed ``moment``: nothing admitted from now on is before it."""
    return now_ms(redis) >= int(moment.timestamp() * 1000)


def _open_jobs(redis: Any) -> Iterator[str]:
    for job in redis.execute_command("ZRANGE", keys.LEASES, 0, -1):
        if _is_job(job.decode()):
            yield job.decode()


def _waiting(redis: Any, stream: str) -> Iterator[str]:
    start = "-"
    while entries := redis.execute_command("XRANGE", stream, start, "+", "COUNT", PAGE):
        for _, fields in entries:
            job = fields.get(b"job", b"").decode(errors="replace")
            # An entry whose job cannot be read may be of any month: it counts for all of them.
            yield job if _is_job(job) else "0" * 32
        start = "(" + entries[-1][0].decode()


def _is_job(job: str) -> bool:
    try:
        ids.milliseconds(job)
    except ValueError:
        return False
    return len(job) == 32
