"""What the guardrails did to an organisation's calls: kinds and counts, which key, which call; never what it was."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.db.tables.privacy import guardrail_event
from gateway.wire import ids

Outcome = Literal["masked", "blocked", "word"]
"""``masked``: the call went on; ``blocked``: refused for a kind of personal data; ``word``: for a forbidden word."""
Place = Literal["request", "answer"]


class Event(msgspec.Struct, frozen=True):
    """One event on its way to the database. ``at_ms``: milliseconds since 1970; ``call``: a job's id or empty."""

    at_ms: int
    org: str
    key: str
    call: str
    outcome: Outcome
    place: Place
    kinds: dict[str, int]


class Shown(msgspec.Struct, frozen=True):
    """One event as owners read it. ``call`` is null where a request was refused before it became a call."""

    id: int
    at: dt.datetime
    key: str
    call: str | None
    outcome: Outcome
    place: Place
    kinds: dict[str, int]


def write(connection: Connection, events: Sequence[Event]) -> None:
    """Adds events, many in one statement."""
    rows = [
        {
            "at": dt.datetime.fromtimestamp(event.at_ms / 1000, dt.UTC), "org": uuid.UUID(event.org),
            "key": uuid.UUID(event.key), "call": ids.public(event.call) if event.call else "",
            "outcome": event.outcome, "place": event.place, "kinds": event.kinds,
        }
        for event in events
    ]  # fmt: skip
    if rows:
        connection.execute(guardrail_event.insert(), rows)


def page(
    connection: Connection, org: str, *, key: str | None = None, before: int | None = None, most: int = 50
) -> Sequence[Shown]:
    """An organisation's events, newest first, those older than the id ``before``; ``key`` keeps one API key's."""
    e = guardrail_event.c
    query = sa.select(e.id, e.at, e.key, e.call, e.outcome, e.place, e.kinds).where(e.org == uuid.UUID(org))
    if key is not None:
        query = query.where(e.key == uuid.UUID(key))
    if before is not None:
        query = query.where(e.id < before)
    rows = connection.execute(query.order_by(e.id.desc()).limit(most))
    return [Shown(row.id, row.at, str(row.key), row.call or None, row.outcome, row.place, row.kinds) for row in rows]
