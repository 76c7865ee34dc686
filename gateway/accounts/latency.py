"""How long calls took, as counts by bucket: percentiles of a month come from hundreds of rows, not millions."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.accounts.spending import keys_of
from gateway.db.tables.operations import usage_latency

Measure = Literal["first", "whole"]
"""To the first token; to the end of the answer."""


def _bounds() -> tuple[int, ...]:
    found = [10]
    while found[-1] < 1_800_000:
        found.append(-(-found[-1] * 11 // 10))
    return tuple(found)


BOUNDS_MS = _bounds()
"""Upper ends of the buckets, each a tenth above the one before: a percentile is right to within ten per cent. From
10 ms to half an hour, past which no call runs."""


class Percentiles(msgspec.Struct, frozen=True):
    """Milliseconds under which half, 95 % and 99 % of the ``calls`` stayed."""

    calls: int
    p50: int
    p95: int
    p99: int


def settled_statement(staged: str) -> str:
    """SQL that adds the answered calls of the table ``staged`` (columns of ``usage``) to the counts.

    Rows are taken in the order of their key, as every writer takes rows that others write too.
    """
    bounds = ", ".join(map(str, BOUNDS_MS))
    return f"""
        INSERT INTO usage_latency AS r (org, day, key, measure, bucket, calls)
        SELECT org, CAST(admitted_at AT TIME ZONE 'Asia/Seoul' AS date), key, m.measure,
            width_bucket(m.ms, CAST(ARRAY[{bounds}] AS bigint[])), count(*)
        FROM {staged} CROSS JOIN LATERAL (VALUES ('first', first_token_ms), ('whole', duration_ms)) AS m (measure, ms)
        WHERE m.ms IS NOT NULL AND outcome = 'complete'
        GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (org, day, key, measure, bucket) DO UPDATE SET calls = r.calls + excluded.calls"""


def percentiles(
    connection: Connection, org: str, *, made_by: str | None, since: dt.date
) -> Mapping[Measure, Percentiles]:
    """Of the answered calls of the days of Seoul from ``since``; a measure without calls is left out."""
    u = usage_latency.c
    calls = sa.cast(sa.func.sum(u.calls), sa.BigInteger)
    query = sa.select(u.measure, u.bucket, calls).where(u.org == uuid.UUID(org), u.day >= since)
    if made_by is not None:
        query = query.where(u.key.in_(keys_of(org, made_by)))
    counts: dict[Measure, list[tuple[int, int]]] = {}
    for measure, bucket, count in connection.execute(query.group_by(u.measure, u.bucket).order_by(u.measure, u.bucket)):
        counts.setdefault(measure, []).append((bucket, count))
    return {measure: _of(found) for measure, found in counts.items()}


def _of(counts: Sequence[tuple[int, int]]) -> Percentiles:
    total = sum(count for _, count in counts)

    def under(percent: int) -> int:
        wanted, seen = -(-total * percent // 100), 0
        for bucket, count in counts:
            seen += count
            if seen >= wanted:
                return BOUNDS_MS[min(bucket, len(BOUNDS_MS) - 1)]
        return BOUNDS_MS[-1]

    return Percentiles(total, under(50), under(95), under(99))
