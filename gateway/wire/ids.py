"""Job ids: UUIDv7 as 32 hexadecimal digits, made by the admission script from Redis's clock.

The first 48 bits are milliseconds since 1970. That time decides price, exchange rate, limit month and billing month.
"""

from __future__ import annotations

import datetime as dt
import functools
import os
import uuid

SEOUL = dt.timezone(dt.timedelta(hours=9), "KST")  # Korea has had no daylight saving time since 1988
PUBLIC_PREFIX = "chatcmpl-"
_HOUR_MS = 3_600_000


def random_parts() -> tuple[str, str]:
    """The random digits of an id: 3 after the version digit, 16 that open with the variant."""
    raw = os.urandom(10).hex()
    return raw[:3], "89ab"[int(raw[3], 16) & 3] + raw[4:19]


def place_of(job_id: str) -> bytes:
    """The associated data under which a job's body is sealed: its random part, known before its time is."""
    return (job_id[13:16] + job_id[16:]).encode()


def milliseconds(job_id: str) -> int:
    """When the job was admitted (milliseconds since 1970, Redis's clock)."""
    return int(job_id[:12], 16)


def first_of(at_ms: int) -> str:
    """The smallest id of that millisecond: ids compare as their times do."""
    return f"{max(0, at_ms):012x}" + "0" * 20


def month_of(at_ms: int) -> str:
    """The billing month in Seoul, ``YYYYMM``."""
    return _month(at_ms // _HOUR_MS)[0]


def month_bounds_ms(at_ms: int) -> tuple[int, int]:
    """First millisecond of the month in Seoul that holds ``at_ms``, and of the next one."""
    return _month(at_ms // _HOUR_MS)[1:]


@functools.lru_cache(1_024)
def _month(hour: int) -> tuple[str, int, int]:
    """Of an hour since 1970: months in Seoul begin with one."""
    at = dt.datetime.fromtimestamp(hour * _HOUR_MS / 1000, SEOUL)
    first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + dt.timedelta(days=32)).replace(day=1)
    return at.strftime("%Y%m"), int(first.timestamp() * 1000), int(following.timestamp() * 1000)


def public(job_id: str) -> str:
    """The id that clients see: ``chatcmpl-`` and the job's digits."""
    return PUBLIC_PREFIX + job_id


def from_public(text: str) -> str | None:
    """The job id behind a client's ``chatcmpl-…``, ``cmpl-…`` or plain id; None if it cannot be one."""
    for prefix in (PUBLIC_PREFIX, "cmpl-"):
        text = text.removeprefix(prefix)
    try:
        return uuid.UUID(text).hex
    except ValueError:
        return None
