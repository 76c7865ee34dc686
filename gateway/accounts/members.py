"""Members of an organisation: listed, given another role, let go. Nothing of theirs keeps working by accident."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.accounts import links, sessions
from gateway.accounts.change import Change
from gateway.accounts.people import MemberRole
from gateway.db.tables.accounts import api_key, membership, organisation, person
from gateway.errors import Conflict, InvalidRequest, NotFound

KeysOfLeaver = Literal["deactivate", "hand_over"]


class Member(msgspec.Struct, frozen=True):
    """A person and their role in one organisation. ``keys`` counts the API keys that they made and that may work."""

    person: str
    email: str
    name: str
    role: MemberRole
    keys: int
    since: dt.datetime


class Left(msgspec.Struct, frozen=True):
    """What became of a leaver's things."""

    person: str
    keys: list[str]
    keys_were: KeysOfLeaver
    handed_to: str | None
    sessions_ended: int
    invitations_ended: int


def listed(connection: Connection, org: str, *, after: str | None = None, most: int = 1_000) -> Sequence[Member]:
    """Active members in the order of their ids, ``most`` at a time, those after the id ``after``."""
    query = _members(uuid.UUID(org)).order_by(person.c.id).limit(most)
    if after is not None:
        query = query.where(person.c.id > uuid.UUID(after))
    return [_view(row) for row in connection.execute(query)]


def get(connection: Connection, org: str, who: str) -> Member:
    """One active member. Raises ``NotFound``."""
    try:
        wanted = uuid.UUID(who)
    except ValueError:
        raise NotFound("no such member") from None
    row = connection.execute(_members(uuid.UUID(org)).where(person.c.id == wanted)).one_or_none()
    if row is None:
        raise NotFound("no such member")
    return _view(row)


def set_role(change: Change, org: str, who: str, role: MemberRole) -> Member:
    """Gives a member another role; their keys follow at once, or stop where it is finance.

    Raises ``NotFound``, ``Conflict`` (the last owner).
    """
    before = _locked(change.connection, org, who)
    if before.role == "owner" and role != "owner":
        _another_owner(change.connection, org, who)
    row = sa.and_(membership.c.org == uuid.UUID(org), membership.c.person == uuid.UUID(who))
    change.connection.execute(membership.update().where(row).values(role=role))
    stopped = role == "finance"  # finance reads the books and calls no model
    touched = _touch_keys(change, org, who, {"state": "deactivated"} if stopped else {}, active_only=stopped)
    told = {"keys_deactivated": touched} if stopped else {}
    _touch_keys(change, org, who, {"state": "deactivated"} if stopped else {}, console=True)
    change.audit("member.role", who, uuid.UUID(org), role=role, role_was=before.role, **told)
    return get(change.connection, org, who)


def remove(change: Change, org: str, who: str, keys: KeysOfLeaver, to: str | None = None) -> Left:
    """Ends a membership, the person's sessions here, invitations they made or have, and what their keys can do.

    Args:
        change: an open one.
        org: the organisation's id.
        who: the leaver's id.
        keys: ``deactivate`` stops the leaver's keys; ``hand_over`` makes them those of ``to``, who answers for them
            from now on and whose rights they have. The leaver may still know a key that is handed over: rotate it.
        to: another active member.

    Raises ``NotFound``, ``InvalidRequest`` (nobody to hand over to), ``Conflict`` (the last owner).
    """
    before = _locked(change.connection, org, who)
    if before.role == "owner":
        _another_owner(change.connection, org, who)
    if keys == "hand_over":
        if to is None or to == who:
            raise InvalidRequest("name another member who takes the keys over", param="to")
        heir = get(change.connection, org, to)
        if heir.role == "finance":
            raise InvalidRequest("a finance member cannot hold keys", param="to")
        touched = _touch_keys(change, org, who, {"created_by": uuid.UUID(to)})
        _touch_keys(change, org, who, {"state": "deactivated"}, console=True)
    else:
        touched = _touch_keys(change, org, who, {"state": "deactivated"}, active_only=True)
        _touch_keys(change, org, who, {"state": "deactivated"}, console=True)
    row = sa.and_(membership.c.org == uuid.UUID(org), membership.c.person == uuid.UUID(who))
    change.connection.execute(membership.update().where(row).values(state="left"))
    left = Left(
        person=who,
        keys=touched,
        keys_were=keys,
        handed_to=to if keys == "hand_over" else None,
        sessions_ended=sessions.end_all(change.connection, who, org=org),
        invitations_ended=links.withdraw_of(change.connection, org, who),
    )
    change.audit("member.remove", who, uuid.UUID(org), keys=touched, keys_were=keys, handed_to=left.handed_to)
    return left


def _touch_keys(
    change: Change,
    org: str,
    who: str,
    values: dict[str, object],
    *,
    active_only: bool = False,
    console: bool = False,
) -> list[str]:
    """Changes a member's keys, and tells every process to look at them anew. Returns their ids.

    ``console``: the key behind their sessions instead, which is nobody else's ever.
    """
    kind = api_key.c.kind == ("console" if console else "key")
    theirs = sa.and_(api_key.c.org == uuid.UUID(org), api_key.c.created_by == uuid.UUID(who), kind)
    state = api_key.c.state == "active" if active_only else api_key.c.state != "deleted"
    statement = (
        api_key.update()
        .where(theirs, state)
        .values(values | {"version": api_key.c.version + 1})
        .returning(api_key.c.id, api_key.c.version)
    )
    rows = sorted(change.connection.execute(statement).all(), key=lambda row: row.id)
    for row in rows:
        change.key_changed(uuid.UUID(org), row.id, row.version)
    return [str(row.id) for row in rows]


def _locked(connection: Connection, org: str, who: str) -> Member:
    """The member, with the organisation locked: two owners cannot let each other go at the same moment."""
    connection.execute(
        sa.select(organisation.c.id).where(organisation.c.id == uuid.UUID(org)).with_for_update(key_share=True)
    )
    return get(connection, org, who)


def _another_owner(connection: Connection, org: str, who: str) -> None:
    others = sa.select(membership.c.person).where(
        membership.c.org == uuid.UUID(org),
        membership.c.role == "owner",
        membership.c.state == "active",
        membership.c.person != uuid.UUID(who),
    )
    if connection.execute(others.limit(1)).one_or_none() is None:
        raise Conflict("An organisation needs an owner: make another member one first.")


def _members(org: uuid.UUID) -> sa.Select[Any, Any, Any, Any, int, Any]:
    keys = (
        sa.select(sa.func.count())
        .where(
            api_key.c.org == org,
            api_key.c.created_by == person.c.id,
            api_key.c.state != "deleted",
            api_key.c.kind == "key",
        )
        .scalar_subquery()
    )
    return (
        sa.select(
            person.c.id, person.c.email, person.c.name, membership.c.role, keys.label("keys"), membership.c.created_at
        )
        .join(membership, membership.c.person == person.c.id)
        .where(membership.c.org == org, membership.c.state == "active")
    )


def _view(row: sa.Row[Any, Any, Any, Any, int, Any]) -> Member:
    who, email, name, role, keys, since = row
    return Member(str(who), email, name, role, keys, since)
