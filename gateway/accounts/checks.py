"""What the last look at the books found, and the provider statements that were compared with them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.db.tables.close import provider_statement
from gateway.db.tables.tasks import invariant_run


class Run(msgspec.Struct, frozen=True):
    """One look: name of each invariant and how often it does not hold."""

    at: dt.datetime
    found: dict[str, int]
    violations: int


class Compared(msgspec.Struct, frozen=True):
    """One provider's statement. ``result`` is what the comparison came to."""

    id: str
    provider: str
    first_day: dt.date
    last_day: dt.date
    imported_at: dt.datetime
    result: dict[str, Any]


def last_run(connection: Connection) -> Run | None:
    """The newest look; None before the first."""
    r = invariant_run.c
    row = connection.execute(sa.select(r.at, r.found, r.violations).order_by(r.id.desc()).limit(1)).one_or_none()
    return None if row is None else Run(*row)


def statements(connection: Connection, most: int) -> Sequence[Compared]:
    """Newest first."""
    s = provider_statement.c
    query = sa.select(s.id, s.provider, s.first_day, s.last_day, s.imported_at, s.result)
    rows = connection.execute(query.order_by(s.imported_at.desc()).limit(most))
    return [Compared(str(row.id), *row[1:]) for row in rows]
