"""How long each class of data is kept, what deletes it, and the proof that it was deleted."""

from __future__ import annotations

import datetime as dt
import tomllib
import uuid
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.postgresql import insert

from gateway.accounts.change import Change
from gateway.db.tables.privacy import deletion_proof, retention_setting
from gateway.errors import InvalidRequest

BATCH = 10_000
"""Rows of one deletion: a transaction that holds its locks for a moment only."""
MOST_BATCHES = 200
"""Of one class in one run; the next run goes on."""


class Class(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One class of data. ``days`` (with ``least`` and ``most``) where it can be set, else ``fixed`` says how long.

    ``by`` deletes it: ``retention`` (the task with proof), ``redis`` (by itself), ``housekeeping``, or a person.
    """

    ko: str
    en: str
    place: str
    why: str
    by: str
    days: int | None = None
    least: int | None = None
    most: int | None = None
    fixed: str | None = None
    name: str = ""


class Proof(msgspec.Struct, frozen=True):
    """One deletion. ``digest``: SHA-256 over the ids of the deleted records, one a line, in order; ``org`` null: they
    belonged to no organisation; ``subject``: an end user's keyed hash where one person's records were erased."""

    id: int
    at: dt.datetime
    name: str
    org: str | None
    subject: str
    cut_off: dt.datetime
    records: int
    digest: str
    actor: str


@cache
def classes() -> Mapping[str, Class]:
    """Every class by name, at its default. Raises ValueError for a mistake in the packaged file."""
    text = files("gateway.accounts").joinpath("retention.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Class])


def listed(connection: Connection) -> Sequence[Class]:
    """Every class as it is in force."""
    rows = connection.execute(sa.select(retention_setting.c["class"], retention_setting.c.days))
    chosen: dict[str, int] = {row[0]: row[1] for row in rows}
    return [
        msgspec.structs.replace(kept, name=name, days=chosen.get(name, kept.days)) for name, kept in classes().items()
    ]


def set_days(change: Change, name: str, days: int) -> Class:
    """Keeps a class for so many days. Raises ``InvalidRequest``: fixed, unknown, or beyond what the law allows."""
    kept = classes().get(name)
    if kept is None or kept.least is None or kept.most is None:
        settable = [known for known, each in classes().items() if each.days is not None]
        raise InvalidRequest(f"'class' must be one of {', '.join(settable)}.", param="class")
    if not kept.least <= days <= kept.most:
        raise InvalidRequest(f"{name} is kept for {kept.least} to {kept.most} days.", param="days")
    was = next(each.days for each in listed(change.connection) if each.name == name)
    statement = insert(retention_setting).values({"class": name, "days": days})
    change.connection.execute(
        statement.on_conflict_do_update(index_elements=["class"], set_={"days": days, "changed_at": sa.func.now()})
    )
    change.audit("retention.set", name, None, days=days, was=was)
    return next(each for each in listed(change.connection) if each.name == name)


def delete_due(engine: Engine, now: dt.datetime | None = None) -> dict[str, int]:
    """Deletes what has been kept long enough, with a proof for each batch and organisation. Returns records by class.

    The database does both in one transaction; stopped anywhere, the next run goes on.
    """
    moment = now or dt.datetime.now(dt.UTC)
    with engine.connect() as connection:
        due = [(each.name, each.days) for each in listed(connection) if each.by == "retention"]
    gone: dict[str, int] = {}
    for name, days in due:
        cut_off = moment - dt.timedelta(days=days or 0)
        for _ in range(MOST_BATCHES):
            with engine.begin() as connection:
                statement = sa.text("SELECT retire(:name, :cut_off, :most)")
                records = connection.scalar(statement, {"name": name, "cut_off": cut_off, "most": BATCH}) or 0
            gone[name] = gone.get(name, 0) + records
            if not records:
                break
    return gone


def erase_subject(change: Change, org: str, user: str) -> Proof:
    """Takes an end user's keyed hash off every settled call and out of the sums by day.

    What remains is what tax law makes us keep: tokens, prices, amounts. Calls that are still under way or waiting for
    settlement keep the hash until it is erased again.
    """
    statement = sa.text("SELECT forget_end_user(CAST(:org AS uuid), :user, :actor)")
    made = change.connection.scalar(statement, {"org": org, "user": user, "actor": change.actor})
    return _proofs(change.connection, sa.select(*_COLUMNS).where(deletion_proof.c.id == made))[0]


_COLUMNS = (
    deletion_proof.c.id, deletion_proof.c.at, deletion_proof.c["class"], sa.cast(deletion_proof.c.org, sa.Text),
    deletion_proof.c.subject, deletion_proof.c.cut_off, deletion_proof.c.records, deletion_proof.c.digest,
    deletion_proof.c.actor,
)  # fmt: skip


def proofs(
    connection: Connection, org: str | None, *, everybody: bool = False, before: int | None = None, most: int = 50
) -> Sequence[Proof]:
    """Proofs, newest first, those older than the id ``before``: an organisation's, with ``everybody`` all of them."""
    query = sa.select(*_COLUMNS).order_by(deletion_proof.c.id.desc()).limit(most)
    if not everybody:
        query = query.where(deletion_proof.c.org == (None if org is None else uuid.UUID(org)))
    if before is not None:
        query = query.where(deletion_proof.c.id < before)
    return _proofs(connection, query)


def _proofs(connection: Connection, query: sa.Select[*tuple[Any, ...]]) -> Sequence[Proof]:
    rows = connection.execute(query)
    names = Proof.__struct_fields__
    return [msgspec.convert(dict(zip(names, row, strict=True)), Proof) for row in rows]
