"""Exchange rates as they stand: won per USD by the day of Seoul, newest first, and how old the newest is."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from gateway.business_days import business_days_between
from gateway.db.tables.catalogue import exchange_rate
from gateway.finance.holidays import declared
from gateway.money import won_text


@dataclass(frozen=True, slots=True)
class Staleness:
    """How old the newest rate is. ``business_days`` is how many of Korea's have passed since its date."""

    newest: dt.date | None
    business_days: int
    demo: bool


def listed(connection: Connection, most: int = 60) -> list[dict[str, Any]]:
    """The newest rates, by date and then by entry."""
    rows = connection.execute(
        select(exchange_rate).order_by(exchange_rate.c.date.desc(), exchange_rate.c.effective_from.desc()).limit(most)
    )
    return [
        {
            "id": row.id,
            "date": row.date.isoformat(),
            "rate": won_text(row.rate),
            "source": row.source,
            "effective_from": row.effective_from.isoformat(),
        }
        for row in rows
    ]


def staleness(connection: Connection, today: dt.date) -> Staleness:
    """The age of the newest rate on ``today`` (a date in Seoul)."""
    row = connection.execute(
        select(exchange_rate.c.date, exchange_rate.c.source)
        .where(exchange_rate.c.date <= today)
        .order_by(exchange_rate.c.date.desc(), exchange_rate.c.effective_from.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return Staleness(None, 0, demo=False)
    passed = business_days_between(row.date, today, declared(connection))
    return Staleness(row.date, passed, demo=row.source == "demo")
