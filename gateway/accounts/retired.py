"""Which months' calls are gone but for their sums."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.db.tables.retired import usage_retirement


class RetiredError(ValueError):
    """The calls of a month were retired, or may not be; the text is for the person who asked."""


def since(connection: Connection, month: str) -> dt.datetime | None:
    """When the calls of ``month`` (``YYYYMM``) were retired; None while they are kept."""
    t = usage_retirement.c
    return connection.scalar(sa.select(t.retired_at).where(t.month == month))
