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

from gateway.accounts.change import Change
from gateway.db.tables.accounts import api_key
from gateway.db.tables.ledger import usage
from gateway.wire import ids

By = Literal["day", "model", "key", "application", "user", "provider"]
DIMENSIONS: tuple[By, ...] = get_args(By)
MOST_ROWS = 1_000
"""Rows of a summary: a chart shows fewer, and an export is another thing."""


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


def forget(change: Change, org: str, user: str) -> int:
    """Takes an end user's keyed hash off every settled call. Returns of how many.

    What remains is what tax law makes us keep: tokens, prices, amounts. Calls that are still under way or waiting for
    settlement keep the hash until it is erased again.
    """
    u = usage.c
    statement = usage.update().where(u.org == uuid.UUID(org), u.user_hash == user).values(user_hash=None)
    return change.connection.execute(statement).rowcount


def _where(wanted: Filter) -> list[sa.ColumnElement[bool]]:
    """Bounds on the job's id find the rows by index: ids rise with time, and the month follows from it."""
    u = usage.c
    first, last = (ids.first_of(_ms(moment)) for moment in (wanted.since, wanted.until))
    found = [u.org == uuid.UUID(wanted.org), u.job >= uuid.UUID(first), u.job < uuid.UUID(last)]
    if wanted.key is not None:
        found.append(u.key == uuid.UUID(wanted.key))
    if wanted.model is not None:
        found.append(u.model == wanted.model)
    if wanted.application is not None:
        found.append(u.title == wanted.application)
    if wanted.user is not None:
        found.append(u.user_hash == wanted.user)
    if wanted.made_by is not None:
        theirs = sa.select(api_key.c.id).where(
            api_key.c.org == uuid.UUID(wanted.org), api_key.c.created_by == uuid.UUID(wanted.made_by)
        )
        found.append(u.key.in_(theirs))
    return found


def _ms(moment: dt.datetime) -> int:
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
