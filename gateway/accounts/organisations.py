"""Organisations: create, change, look up."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Literal, TypedDict, cast

import msgspec
from redis.exceptions import RedisError
from sqlalchemy import Connection, RowMapping, select, tuple_

from gateway.accounts import limits, model_limits
from gateway.accounts.change import Change
from gateway.accounts.model_limits import ModelLimits
from gateway.credit import upkeep
from gateway.credit.scripts import SyncExecutor
from gateway.db.tables.accounts import membership, organisation
from gateway.errors import Conflict, InvalidRequest, NotFound

Billing = Literal["prepaid", "postpaid"]
Policy = Literal["strict", "optimistic"]
State = Literal["active", "suspended", "closed"]

POLL_S = 0.05


class Terms(TypedDict, total=False):
    """What can be set. Limits: won, requests per 60 seconds, requests at once, tokens per 60 seconds; None = none.

    ``model_limits`` replaces all that there were.
    """

    name: str
    billing: Billing
    policy: Policy
    month_limit_won: Decimal | None
    rpm: int | None
    concurrency: int | None
    tpm: int | None
    model_limits: ModelLimits
    domestic_only: bool
    no_training: bool
    state: State


class Organisation(msgspec.Struct, frozen=True):
    """An organisation as people see it; see ``Terms`` for the units."""

    id: str
    name: str
    billing: Billing
    policy: Policy
    month_limit_won: Decimal | None
    rpm: int | None
    concurrency: int | None
    tpm: int | None
    model_limits: ModelLimits
    domestic_only: bool
    no_training: bool
    state: State
    version: int
    created_at: dt.datetime


def create(change: Change, terms: Terms) -> Organisation:
    """Makes an organisation; its window exists once the outbox row has been applied. Raises ``InvalidRequest``."""
    if "name" not in terms or "billing" not in terms:
        raise InvalidRequest("an organisation needs a name and a kind of billing", param="name")
    values = _checked(terms)
    statement = organisation.insert().values(values | {"id": uuid.uuid4()}).returning(organisation)
    row = change.connection.execute(statement).mappings().one()
    made = _view(row)
    change.audit("org.create", made.id, row["id"], **values)
    change.organisation_changed(row["id"], made.version)
    return made


def update(change: Change, org: str, terms: Terms) -> Organisation:
    """Changes an organisation and raises its version. Raises ``NotFound``, ``InvalidRequest``, ``Conflict``."""
    values = _checked(terms)
    if not values:
        raise InvalidRequest("nothing to change")
    before = _lock(change.connection, org)
    if before["state"] == "closed":
        raise Conflict("the organisation is closed")
    row = (
        change.connection.execute(
            organisation.update()
            .where(organisation.c.id == before["id"])
            .values(values | {"version": organisation.c.version + 1})
            .returning(organisation)
        )
        .mappings()
        .one()
    )
    was = {f"{name}_was": before[name] for name in values}
    change.audit("org.set", str(before["id"]), before["id"], **values, **was)
    change.organisation_changed(before["id"], row["version"])
    return _view(row)


def touch(change: Change, org: str, settings: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> None:
    """Locks the organisation and raises its version, for a change that stands elsewhere or in its ``settings``.

    ``settings`` makes new ones of those that are there.

    Raises ``NotFound``, ``Conflict`` (closed).
    """
    before = _lock(change.connection, org)
    if before["state"] == "closed":
        raise Conflict("the organisation is closed")
    values: dict[str, Any] = {"version": organisation.c.version + 1}
    if settings is not None:
        values["settings"] = settings(before["settings"])
    statement = organisation.update().where(organisation.c.id == before["id"]).values(values)
    version = change.connection.execute(statement.returning(organisation.c.version)).scalar_one()
    change.organisation_changed(before["id"], version)


def get(connection: Connection, org: str) -> Organisation:
    """The organisation with this id. Raises ``NotFound``."""
    row = connection.execute(select(organisation).where(organisation.c.id == _id(org))).mappings().one_or_none()
    if row is None:
        raise NotFound(f"no organisation {org}")
    return _view(row)


def of_person(connection: Connection, who: str) -> Sequence[Organisation]:
    """The open organisations where a person is an active member, oldest membership first."""
    query = (
        select(organisation)
        .join(membership, membership.c.org == organisation.c.id)
        .where(membership.c.person == _id(who), membership.c.state == "active", organisation.c.state != "closed")
        .order_by(membership.c.created_at, organisation.c.id)
    )
    return [_view(row) for row in connection.execute(query).mappings()]


def search(connection: Connection, words: str, most: int = 50, *, after: str | None = None) -> Sequence[Organisation]:
    """Open organisations whose name holds ``words``, by name, those after the one with the id ``after``."""
    o = organisation.c
    query = select(organisation).where(o.state != "closed").order_by(o.name, o.id).limit(most)
    if words:
        query = query.where(o.name.icontains(words, autoescape=True))
    if after is not None:
        last = select(o.name, o.id).where(o.id == _id(after)).subquery()
        query = query.where(tuple_(o.name, o.id) > select(last.c.name, last.c.id).scalar_subquery())
    return [_view(row) for row in connection.execute(query).mappings()]


def find(connection: Connection, reference: str) -> Organisation:
    """By id or exact name. Raises ``NotFound``, or ``Conflict`` where several have the name."""
    try:
        return get(connection, str(uuid.UUID(reference)))
    except ValueError:
        pass
    rows = connection.execute(select(organisation).where(organisation.c.name == reference).limit(2)).mappings().all()
    if not rows:
        raise NotFound(f"no organisation is called {reference!r}")
    if len(rows) > 1:
        raise Conflict(f"several organisations are called {reference!r}: use the id")
    return _view(rows[0])


def listed(connection: Connection, *, after: str | None = None, most: int = 1_000) -> Sequence[Organisation]:
    """Organisations in the order of their ids, ``most`` at a time, those after the id ``after``."""
    query = select(organisation).order_by(organisation.c.id).limit(most)
    if after is not None:
        query = query.where(organisation.c.id > _id(after))
    return [_view(row) for row in connection.execute(query).mappings()]


def wait_for_window(redis: SyncExecutor, org: str, patience_s: float) -> bool:
    """Waits until the credit window knows the organisation, so that its keys work. False if that took too long."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        with contextlib.suppress(RedisError):  # an outage may end within our patience
            if upkeep.read(redis, org) is not None:
                return True
        time.sleep(POLL_S)
    return False


def _lock(connection: Connection, org: str) -> RowMapping:
    query = select(organisation).where(organisation.c.id == _id(org)).with_for_update(key_share=True)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"no organisation {org}")
    return row


def _id(org: str) -> uuid.UUID:
    try:
        return uuid.UUID(org)
    except ValueError:
        raise NotFound(f"no organisation {org}") from None


_CHOICES: dict[str, tuple[str, ...]] = {
    "billing": ("prepaid", "postpaid"),
    "policy": ("strict", "optimistic"),
    "state": ("active", "suspended", "closed"),
}
_COUNTS = {
    "rpm": limits.MOST_PER_MINUTE,
    "concurrency": limits.MOST_AT_ONCE,
    "tpm": limits.MOST_TOKENS_PER_MINUTE,
}


def _checked(terms: Terms) -> dict[str, Any]:
    values = cast("dict[str, Any]", dict(terms))
    for field, allowed in _CHOICES.items():
        if field in values and values[field] not in allowed:
            raise InvalidRequest(f"{field} must be one of {', '.join(allowed)}", param=field)
    if "name" in terms:
        values["name"] = limits.name(terms["name"])
    if "month_limit_won" in terms:
        limits.won(terms["month_limit_won"], "month_limit_won")
    for field, most in _COUNTS.items():
        if field in values:
            limits.count(values[field], field, most)
    if "model_limits" in values:
        values["model_limits"] = model_limits.checked(values["model_limits"])
    return values


def _view(row: RowMapping) -> Organisation:
    return Organisation(
        **{field: row[field] for field in Organisation.__struct_fields__ if field != "id"}, id=str(row["id"])
    )
