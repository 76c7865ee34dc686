"""The key behind a session: what somebody signed in calls models with, so that it is counted and limited like any key.

There is one for a person and organisation. Its hash is of nothing: no secret opens it, it is found by the session only,
and no list of keys shows it. It stops with the membership and works again when the person is back.
"""

from __future__ import annotations

import secrets
import uuid

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from gateway.accounts.change import Change
from gateway.db.tables.accounts import api_key

NAME = "웹 콘솔 (web console)"
HINT = "console"
PER_MINUTE = 60
"""Requests a person can make by hand; a page that loops is stopped before it spends much."""
AT_ONCE = 6
"""Three models side by side, and once more before the first have finished."""


def find(connection: Connection, org: str, person: str) -> bytes | None:
    """The hash by which the person's active console key in the organisation is found; None where there is none."""
    return connection.scalar(sa.select(api_key.c.hash).where(_theirs(org, person), api_key.c.state == "active"))


def ensure(change: Change, org: str, person: str) -> bytes:
    """The same; makes the key where there is none, and starts one that was stopped.

    The caller has checked that the person may call models in the organisation.
    """
    values = {
        "id": uuid.uuid4(), "org": uuid.UUID(org), "created_by": uuid.UUID(person), "kind": "console", "name": NAME,
        "surface": "bizrouter", "hash": secrets.token_bytes(32), "hint": HINT, "rpm": PER_MINUTE, "concurrency": AT_ONCE,
    }  # fmt: skip
    there = insert(api_key).values(values).on_conflict_do_nothing(
        index_elements=["org", "created_by"], index_where=api_key.c.kind == "console"
    )  # fmt: skip
    made = change.connection.execute(there.returning(api_key.c.id)).one_or_none() is not None
    row = change.connection.execute(sa.select(api_key).where(_theirs(org, person)).with_for_update()).mappings().one()
    if row["state"] == "active" and not made:
        return row["hash"]  # somebody was quicker
    version = row["version"]
    if not made:
        version += 1
        start = api_key.update().where(api_key.c.id == row["id"]).values(state="active", version=version)
        change.connection.execute(start)
    change.audit("key.console", str(row["id"]), uuid.UUID(org), person=person)
    change.key_changed(uuid.UUID(org), row["id"], version)
    return row["hash"]


def _theirs(org: str, person: str) -> sa.ColumnElement[bool]:
    key = api_key.c
    return sa.and_(key.org == uuid.UUID(org), key.created_by == uuid.UUID(person), key.kind == "console")
