"""Days off that the government declares at short notice (임시공휴일): entered by hand, beside those of the law."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from gateway.business_days import is_business_day
from gateway.db.tables.accounts import audit_log
from gateway.db.tables.close import holiday

LONGEST_NAME = 100


class HolidayError(ValueError):
    """A day was not taken; the text is for the person who entered it."""


def declared(connection: Connection) -> frozenset[dt.date]:
    """The days that were entered."""
    return frozenset(connection.execute(select(holiday.c.day)).scalars())


def listed(connection: Connection) -> list[dict[str, Any]]:
    """The days with their names, newest first."""
    rows = connection.execute(
        select(holiday.c.day, holiday.c.name, holiday.c.entered_by).order_by(holiday.c.day.desc())
    )
    return [{"day": row.day.isoformat(), "name": row.name, "entered_by": row.entered_by} for row in rows]


def enter(connection: Connection, day: dt.date, name: str, actor: str) -> bool:
    """Enters a day. False where it is there already. Due dates that stand on an issued invoice stay as they are.

    Raises ``HolidayError``: it is none of Korea's business days anyway, or has no name.
    """
    name = " ".join(name.split())
    if not 0 < len(name) <= LONGEST_NAME:
        raise HolidayError(f"a holiday has a name of up to {LONGEST_NAME} characters")
    if not is_business_day(day):
        raise HolidayError(f"{day} is no business day anyway")
    values = {"day": day, "name": name, "entered_by": actor}
    statement = insert(holiday).values(values).on_conflict_do_nothing().returning(holiday.c.day)
    new = connection.execute(statement).one_or_none() is not None
    if new:
        details = {"name": name}
        connection.execute(
            audit_log.insert().values(actor=actor, action="holiday.add", subject=day.isoformat(), details=details)
        )
    return new
