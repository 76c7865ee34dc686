"""What the looks at the books found, provider statements that were matched, and usage that could not be booked."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.db.tables.close import discarded_usage, provider_statement
from gateway.db.tables.tasks import invariant_run
from gateway.errors import NotFound


class Look(msgspec.Struct, frozen=True):
    """One look at the books: violations by invariant; all of them must be 0."""

    id: int
    at: dt.datetime
    violations: int
    found: dict[str, int]


class Matched(msgspec.Struct, frozen=True):
    """A provider's statement matched with the books. ``result`` as ``statement.import`` gives it."""

    id: str
    provider: str
    first_day: dt.date
    last_day: dt.date
    imported_by: str
    imported_at: dt.datetime
    result: dict[str, Any]


class DeadLetter(msgspec.Struct, frozen=True):
    """A usage event that could not be booked. ``micro``: what the credit window was charged for it."""

    entry: str
    died_at: dt.datetime
    job: str
    org: str
    key: str
    micro: int
    why: str


class Discarded(msgspec.Struct, frozen=True):
    """One that a person decided not to book."""

    entry: str
    job: str
    org: str
    micro: int
    why: str
    reason: str
    at: dt.datetime


def looks(connection: Connection, most: int = 24, before: int | None = None) -> Sequence[Look]:
    """The newest looks at the books."""
    query = sa.select(invariant_run).order_by(invariant_run.c.id.desc()).limit(most)
    if before is not None:
        query = query.where(invariant_run.c.id < before)
    return [Look(row.id, row.at, row.violations, row.found) for row in connection.execute(query)]


def statements(connection: Connection, most: int = 50, before: str | None = None) -> Sequence[Matched]:
    """The statements imported last, without their differences: ``statement`` has those."""
    query = sa.select(provider_statement).order_by(provider_statement.c.id.desc()).limit(most)
    if before is not None:
        query = query.where(provider_statement.c.id < uuid.UUID(before))
    found = [_matched(row) for row in connection.execute(query)]
    for each in found:
        each.result["differences"] = len(each.result.get("differences", ()))
    return found


def statement(connection: Connection, statement_id: str) -> Matched:
    """One statement with every difference and its reason. Raises ``NotFound``."""
    try:
        wanted = uuid.UUID(statement_id)
    except ValueError:
        raise NotFound(f"no statement {statement_id}") from None
    row = connection.execute(
        sa.select(provider_statement).where(provider_statement.c.id == wanted)
    ).one_or_none()  # fmt: skip
    if row is None:
        raise NotFound(f"no statement {statement_id}")
    return _matched(row)


def discarded(connection: Connection, most: int = 50) -> Sequence[Discarded]:
    """What was decided never to be booked, newest first."""
    query = sa.select(discarded_usage).order_by(discarded_usage.c.at.desc()).limit(most)
    return [
        Discarded(row.entry, row.job, row.org, row.micro, row.why, row.reason, row.at)
        for row in connection.execute(query)
    ]


def dead_letter(entry: bytes, fields: Mapping[bytes, bytes]) -> DeadLetter:
    """An entry of ``wr:dead`` as people see it."""

    def said(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="replace")

    micro, place = said(b"micro"), entry.decode()
    return DeadLetter(
        entry=place,
        died_at=dt.datetime.fromtimestamp(int(place.partition("-")[0]) / 1000, dt.UTC),
        job=said(b"job"),
        org=said(b"org"),
        key=said(b"key"),
        micro=int(micro) if micro.isascii() and micro.isdigit() else 0,
        why=said(b"why"),
    )


def _matched(row: Any) -> Matched:
    return Matched(
        str(row.id), row.provider, row.first_day, row.last_day, row.imported_by, row.imported_at, dict(row.result)
    )  # fmt: skip
