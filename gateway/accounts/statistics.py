"""What an organisation's dashboard shows, from the rollups alone: a page costs the same after a thousand calls and after
a million."""

from __future__ import annotations

import calendar
import datetime as dt
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, get_args

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.accounts.spending import Day, keys_of
from gateway.db.tables.accounts import api_key
from gateway.db.tables.close import usage_hour
from gateway.money import EXACT
from gateway.wire import ids

By = Literal["model", "key", "application"]
KINDS: tuple[By, ...] = get_args(By)
_GROUPED: dict[int, By] = {0b011: "model", 0b101: "key", 0b110: "application"}
"""PostgreSQL's GROUPING(model, key, title): a bit for each that was not grouped by."""
AVERAGED_DAYS = 7
"""A forecast's days: a whole week, so that weekends weigh what they weigh."""
_DAY_S = 86_400


class Group(msgspec.Struct, frozen=True):
    """All calls with one model, key or application. ``label`` is empty where they named none; ``won`` exact."""

    label: str
    calls: int
    failed: int
    won: Decimal


class Outcomes(msgspec.Struct, frozen=True):
    """How many calls there were, and how many brought no answer."""

    calls: int
    failed: int

    @property
    def success_per_mille(self) -> int | None:
        """Calls of a thousand that were answered (or ended by the caller), rounded down; None without calls."""
        return None if self.calls == 0 else (self.calls - self.failed) * 1000 // self.calls


def shares(
    connection: Connection, org: str, *, made_by: str | None, since: dt.date, most: int
) -> tuple[dict[By, list[Group]], Outcomes]:
    """Sums by each kind from a day of Seoul on, the dearest ``most`` first, and those of all calls together.

    One statement, which reads the hours once: a long period's are what a page waits for.
    """
    h = usage_hour.c
    kind, won = sa.func.grouping(h.model, h.key, h.title), sa.func.sum(h.won)
    label = sa.func.coalesce(h.model, sa.cast(h.key, sa.Text), h.title)
    sums = (
        sa.select(
            kind.label("kind"), label.label("label"), _count(h.calls).label("calls"), _count(h.failed).label("failed"),
            won.label("won"), sa.func.row_number().over(partition_by=kind, order_by=(won.desc(), label)).label("place"),
        )
        .where(*_where(org, made_by, since))
        .group_by(sa.func.grouping_sets(h.model, h.key, h.title, sa.text("()")))
        .subquery()
    )  # fmt: skip
    query = sa.select(sums).where(sums.c.place <= most).order_by(sums.c.kind, sums.c.place)
    found: dict[By, list[Group]] = {by: [] for by in KINDS}
    every = Outcomes(0, 0)
    for row in connection.execute(query):
        if by := _GROUPED.get(row.kind):
            found[by].append(Group(row.label, row.calls, row.failed, row.won))
        else:
            every = Outcomes(row.calls or 0, row.failed or 0)
    named = sa.select(api_key.c.id, api_key.c.name).where(
        api_key.c.id.in_([uuid.UUID(group.label) for group in found["key"]])
    )
    names = {str(row.id): row.name for row in connection.execute(named)} if found["key"] else {}
    found["key"] = [msgspec.structs.replace(group, label=names.get(group.label, group.label)) for group in found["key"]]
    return found, every


def state(connection: Connection, org: str, today: dt.date) -> str:
    """Changes whenever a call of yesterday or today is booked. Cheap: a page that stays open asks every second."""
    h = usage_hour.c
    query = sa.select(_count(h.calls), sa.func.sum(h.won)).where(*_where(org, None, today - dt.timedelta(days=1)))
    calls, won = connection.execute(query).one()
    return f"{calls or 0}/{won or 0}"


def forecast(days: Mapping[dt.date, Day], now: dt.datetime) -> Decimal | None:
    """What the month of Seoul will come to, in won: what was used, and the last week's average for what is left of it.

    ``days`` holds at least the month and the week before ``now``. None where no whole day of that week had a call.
    """
    there = now.astimezone(ids.SEOUL)
    today = there.date()
    week = [today - dt.timedelta(days=back) for back in range(1, AVERAGED_DAYS + 1)]
    used = [day for day in week if day in days]
    if not used:
        return None
    first = min(used)
    average = sum((days[day].won for day in used), Decimal(0)) / ((today - first).days)
    gone_s = there.hour * 3_600 + there.minute * 60 + there.second
    left = Decimal(calendar.monthrange(today.year, today.month)[1] - today.day) + Decimal(_DAY_S - gone_s) / _DAY_S
    month = sum((used.won for day, used in days.items() if day >= today.replace(day=1)), Decimal(0))
    return EXACT.add(month, (average * left).quantize(Decimal("0.01")))


def _where(org: str, made_by: str | None, since: dt.date) -> list[sa.ColumnElement[bool]]:
    h = usage_hour.c
    found: list[sa.ColumnElement[bool]] = [
        h.org == uuid.UUID(org), h.hour >= dt.datetime.combine(since, dt.time(), ids.SEOUL),
    ]  # fmt: skip
    if made_by is not None:
        found.append(h.key.in_(keys_of(org, made_by)))
    return found


def _count(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.cast(sa.func.sum(column), sa.BigInteger)
