"""Who looked at whose data: written down with the look itself, in the same transaction, and never changed."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.db.tables.policy import access_log

_LOOKED_BACK = 200
"""Newest lines among which the same look is sought: behind more than these it is written again."""


class Access(msgspec.Struct, frozen=True):
    """One look. ``subject``: an end user's keyed hash, or empty for everybody's; ``records``: how many were shown."""

    id: int
    at: dt.datetime
    actor: str
    address: str
    action: str
    subject: str
    reason: str
    records: int


class Looker(msgspec.Struct, frozen=True):
    """Who looks: the organisation, the actor as in the audit log, and the address they come from."""

    org: str
    actor: str
    address: str


def note(
    connection: Connection,
    who: Looker,
    action: str,
    records: int,
    *,
    subject: str = "",
    reason: str = "",
    again_s: int = 0,
) -> None:
    """Writes a look down, in the transaction in which it happens: without the line there is no look.

    ``again_s``: nothing is written where the same person's same look stands there already and is not older than this.
    """
    if again_s and _noted(connection, who, action, again_s):
        return
    values = {"org": uuid.UUID(who.org), "actor": who.actor, "address": who.address, "action": action}
    values |= {"subject": subject, "reason": reason, "records": records}
    connection.execute(access_log.insert().values(values))


def note_month(
    connection: Connection, org: str | None, actor: str, address: str, action: str, month: str, reason: str
) -> None:
    """Writes down that a month's (``YYYYMM``) records were taken away as a file, in the transaction in which they go: of
    one organisation, or a line for each that has any. ``records`` is how many calls the month has so far."""
    connection.execute(
        sa.text(
            "INSERT INTO access_log (org, actor, address, action, subject, reason, records) "
            "SELECT o.id, :actor, :address, :action, '', :reason, coalesce(d.calls, 0) FROM organisation o "
            "LEFT JOIN (SELECT org, sum(calls) AS calls FROM usage_day "
            "WHERE to_char(day, 'YYYYMM') = :month GROUP BY org) d ON d.org = o.id "
            "WHERE CASE WHEN CAST(:org AS uuid) IS NULL THEN d.org IS NOT NULL ELSE o.id = CAST(:org AS uuid) END "
            "ORDER BY o.id"
        ),
        {"org": org, "actor": actor, "address": address, "action": action, "month": month, "reason": reason},
    )


def _noted(connection: Connection, who: Looker, action: str, seconds: int) -> bool:
    log = access_log.c
    newest = (
        sa.select(log.at, log.actor, log.address, log.action)
        .where(log.org == uuid.UUID(who.org))
        .order_by(log.id.desc())
        .limit(_LOOKED_BACK)
        .subquery()
    )
    n = newest.c
    same = (n.actor == who.actor, n.address == who.address, n.action == action)
    recent = n.at > sa.func.now() - dt.timedelta(seconds=seconds)
    return bool(connection.scalar(sa.select(sa.exists().where(*same, recent))))


def page(connection: Connection, org: str, *, before: int | None = None, most: int = 50) -> Sequence[Access]:
    """An organisation's looks, newest first, those older than the id ``before``."""
    log = access_log.c
    columns = (log.id, log.at, log.actor, log.address, log.action, log.subject, log.reason, log.records)
    query = sa.select(*columns).where(log.org == uuid.UUID(org)).order_by(log.id.desc()).limit(most)
    if before is not None:
        query = query.where(log.id < before)
    return [Access(*row) for row in connection.execute(query)]
