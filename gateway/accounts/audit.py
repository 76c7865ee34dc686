"""The audit log as owners read it: who changed what, newest first."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.db.tables.accounts import audit_log


class Entry(msgspec.Struct, frozen=True):
    """One change. ``actor``: a person's id, ``key:`` and a key's id, ``operator`` (command line), or a process."""

    id: int
    at: dt.datetime
    actor: str
    action: str
    subject: str
    details: dict[str, Any]


def page(
    connection: Connection, org: str, *, before: int | None = None, most: int = 50, action: str | None = None
) -> Sequence[Entry]:
    """An organisation's entries, newest first, those older than the id ``before``. ``action`` keeps one kind."""
    log = audit_log.c
    query = sa.select(log.id, log.at, log.actor, log.action, log.subject, log.details).where(log.org == uuid.UUID(org))
    if before is not None:
        query = query.where(log.id < before)
    if action is not None:
        query = query.where(log.action == action)
    return [Entry(*row) for row in connection.execute(query.order_by(log.id.desc()).limit(most))]
