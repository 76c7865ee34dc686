"""What an organisation used, as its people read it: call by call, and summed up."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal, get_args

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.db.tables.accounts import api_key
from gateway.db.tables.close import usage_hour
from gateway.db.tables.ledger import usage, window_key
from gateway.money import EXACT
from gateway.wire import ids

By = Literal["day", "model", "key", "application", "user", "provider"]
DIMENSIONS: tuple[By, ...] = get_args(By)
MOST_ROWS = 1_000
"""Rows of a summary: a chart shows fewer, and an export is another thing."""


LOOK_BACK = dt.timedelta(days=92)
"""How far behind a call the next older one is looked for: a quarter, so that a page touches four partitions at most."""

_LAST_MS = 4_102_444_800_000  # the year 2100: what people ask for may lie where no calendar reaches


class Filter(msgspec.Struct, frozen=True):
    """Which calls. ``since`` (included) and ``until`` (not) are compared with the admission's time; ``made_by`` keeps
    the calls of one person's keys, ``user`` those of one end user, by keyed hash."""

    org: str
    since: dt.datetime
    until: dt.datetime
    key: str | None = None
    model: str | None = None
    application: str | None = None
    made_by: str | None = None
    user: str | None = None


class Used(msgspec.Struct, frozen=True):
    """One settled call. ``won`` is exact; ``user`` a keyed hash."""

    job: str
    at: dt.datetime
    key: str
    model: str
    provider: str
    application: str | None
    user: str | None
    outcome: str
    estimated: bool
    prompt_tokens: int
    completion_tokens: int
    won: Decimal


class Day(msgspec.Struct, frozen=True):
    """All calls of one day; ``won`` is exact."""

    calls: int
    won: Decimal


class Sum(msgspec.Struct, frozen=True):
    """All calls with the same ``group``."""

    group: str | None
    calls: int
    prompt_tokens: int
    completion_tokens: int
    won: Decimal


def calls(connection: Connection, wanted: Filter, *, before: str | None = None, most: int = 50) -> Sequence[Used]:
    """Settled calls, newest first, those before the job ``before``."""
    u = usage.c
    query = (
        sa.select(
            u.job, u.admitted_at, u.key, u.model, u.provider, u.title, u.user_hash, u.outcome, u.estimated,
            u.prompt_tokens, u.completion_tokens, u.won,
        )
        .where(*_where(wanted))
        .order_by(u.job.desc())
        .limit(most)
    )  # fmt: skip
    if before is not None:
        query = query.where(u.job < uuid.UUID(before))
    return [Used(row[0].hex, row[1], str(row[2]), *row[3:]) for row in connection.execute(query)]


def recent(
    connection: Connection, org: str, *, made_by: str | None, before: str | None, until: dt.datetime, most: int
) -> Sequence[Used]:
    """The newest settled calls of ``LOOK_BACK``, those before the job ``before``; ``made_by`` keeps one person's.

    One person's calls may be few among millions of their organisation's: the hours that hold them are looked up in the
    rollup first, and nothing else is read.
    """
    if before is not None:
        until = min(until, _at(before) + dt.timedelta(milliseconds=1))
    since = until - LOOK_BACK
    if made_by is None:
        return calls(connection, Filter(org, since, until), before=before, most=most)
    found: list[Used] = []
    for hour in _hours(connection, org, keys_of(org, made_by), since, until, most):
        within = Filter(org, hour, min(until, hour + dt.timedelta(hours=1)), made_by=made_by)
        found += calls(connection, within, before=before, most=most - len(found))
        if len(found) >= most:
            break
    return found


def by_day(connection: Connection, org: str, *, made_by: str | None, since: dt.date) -> dict[dt.date, Day]:
    """What was used on each day of Seoul from ``since``, from the rollup of hours; days without calls are left out."""
    h = usage_hour.c
    day = sa.cast(sa.func.timezone("Asia/Seoul", h.hour), sa.Date)
    first = dt.datetime.combine(since, dt.time(), ids.SEOUL)
    calls_of, won = sa.cast(sa.func.sum(h.calls), sa.BigInteger), sa.func.sum(h.won)
    query = sa.select(day, calls_of, won).where(h.org == uuid.UUID(org), h.hour >= first).group_by(day)
    if made_by is not None:
        query = query.where(h.key.in_(keys_of(org, made_by)))
    return {row[0]: Day(row[1], row[2]) for row in connection.execute(query)}


def by_key(connection: Connection, keys: Sequence[str]) -> dict[str, Decimal]:
    """What each of these keys has spent so far, in won (counted in micro-won); keys that spent nothing are left out."""
    w = window_key.c
    query = sa.select(w.key, w.spent_micro).where(w.key.in_([uuid.UUID(key) for key in keys]))
    return {str(row.key): Decimal(row.spent_micro).scaleb(-6, EXACT) for row in connection.execute(query)}


def is_of(connection: Connection, org: str, job: str, made_by: str) -> bool:
    """Whether a settled call was made with a key of that person's."""
    u = usage.c
    month = ids.month_of(ids.milliseconds(job))
    mine = sa.and_(u.month == month, u.job == uuid.UUID(job), u.org == uuid.UUID(org), u.key.in_(keys_of(org, made_by)))
    return bool(connection.scalar(sa.select(sa.exists().where(mine))))


def summary(connection: Connection, wanted: Filter, by: By) -> Sequence[Sum]:
    """Sums by day (of Seoul, in order) or by something else (the dearest first), at most ``MOST_ROWS``."""
    u = usage.c
    group: sa.ColumnElement[Any] = {
        "day": sa.func.to_char(sa.func.timezone("Asia/Seoul", u.admitted_at), "YYYY-MM-DD"),
        "model": u.model,
        "key": sa.cast(u.key, sa.Text),
        "application": u.title,
        "user": u.user_hash,
        "provider": u.provider,
    }[by].label("label")
    won = sa.func.sum(u.won).label("won")
    query = (
        sa.select(
            group,
            sa.func.count().label("calls"),
            sa.cast(sa.func.sum(u.prompt_tokens), sa.BigInteger),
            sa.cast(sa.func.sum(u.completion_tokens), sa.BigInteger),
            won,
        )
        .where(*_where(wanted), u.outcome != "voided")
        .group_by(sa.text("1"))
        .order_by(*([sa.text("1")] if by == "day" else [won.desc(), sa.text("1")]))
        .limit(MOST_ROWS)
    )
    return [Sum(*row) for row in connection.execute(query)]


def _where(wanted: Filter) -> list[sa.ColumnElement[bool]]:
    """Bounds on the job's id find the rows by index, as ids rise with time; the months spare the other partitions."""
    u = usage.c
    first, last = (ids.first_of(_ms(moment)) for moment in (wanted.since, wanted.until))
    found = [
        u.org == uuid.UUID(wanted.org),
        u.month.in_(months_between(wanted.since, wanted.until)),
        u.job >= uuid.UUID(first),
        u.job < uuid.UUID(last),
    ]
    if wanted.key is not None:
        found.append(u.key == uuid.UUID(wanted.key))
    if wanted.model is not None:
        found.append(u.model == wanted.model)
    if wanted.application is not None:
        found.append(u.title == wanted.application)
    if wanted.user is not None:
        found.append(u.user_hash == wanted.user)
    if wanted.made_by is not None:
        found.append(u.key.in_(keys_of(wanted.org, wanted.made_by)))
    return found


def keys_of(org: str, person: str) -> sa.Select[tuple[uuid.UUID]]:
    """The ids of the keys that a person made, as a query."""
    return sa.select(api_key.c.id).where(api_key.c.org == uuid.UUID(org), api_key.c.created_by == uuid.UUID(person))


def _hours(
    connection: Connection, org: str, keys: sa.Select[Any], since: dt.datetime, until: dt.datetime, most: int
) -> Sequence[dt.datetime]:
    """The newest hours, at most ``most``, in which one of the keys was used."""
    h = usage_hour.c
    wanted = (h.org == uuid.UUID(org), h.hour > since - dt.timedelta(hours=1), h.hour < until, h.key.in_(keys))
    query = sa.select(h.hour).where(*wanted).group_by(h.hour).order_by(h.hour.desc()).limit(most)
    return connection.execute(query).scalars().all()


def months_between(since: dt.datetime, until: dt.datetime) -> list[str]:
    """Every billing month between two moments, as far as there can be calls."""
    at, end, found = max(0, _ms(since)), min(_ms(until), _LAST_MS), list[str]()
    while at <= end:
        found.append(ids.month_of(at))
        at = ids.month_bounds_ms(at)[1]
    return found


def _at(job: str) -> dt.datetime:
    return dt.datetime.fromtimestamp(ids.milliseconds(uuid.UUID(job).hex) / 1000, dt.UTC)


def _ms(moment: dt.datetime) -> int:
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
