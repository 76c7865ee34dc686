"""Links that work once: invitations into an organisation, and new passwords. Only their SHA-256 is kept."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import uuid
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from gateway.accounts import people, sessions
from gateway.accounts.change import Change
from gateway.accounts.people import MemberRole, Person
from gateway.db.tables.accounts import membership, organisation, person
from gateway.db.tables.people import one_time_link
from gateway.errors import Conflict, InvalidRequest, NotFound, PermissionDenied

INVITATION_S = 7 * 86_400
RESET_S = 3_600
TOKEN_BYTES = 32
MOST_OPEN = 200
"""Open invitations of one organisation: more are a mistake or mail for strangers."""


class Invitation(msgspec.Struct, frozen=True):
    """An invitation that nobody has taken up yet."""

    id: str
    email: str
    role: MemberRole
    created_by: str | None
    created_at: dt.datetime
    expires_at: dt.datetime


class Invited(msgspec.Struct, frozen=True):
    """What an invitation's token opens."""

    org: str
    org_name: str
    email: str
    role: MemberRole
    has_account: bool


def invite(change: Change, org: str, email: str, role: MemberRole, by: str | None) -> tuple[Invitation, str]:
    """Invites an address, and returns the invitation and its token. An earlier one for the address ends.

    Raises ``InvalidRequest``, or ``Conflict`` where the person is a member or too many invitations are open.
    """
    address, org_id = people.address(email), uuid.UUID(org)
    members = sa.select(person.c.id).join(membership, membership.c.person == person.c.id)
    known = members.where(membership.c.org == org_id, membership.c.state == "active", person.c.email == address)
    if change.connection.scalar(known) is not None:
        raise Conflict("This person is a member already.")
    _revoke(change.connection, one_time_link.c.org == org_id, one_time_link.c.email == address)
    if len(open_invitations(change.connection, org)) >= MOST_OPEN:
        raise Conflict(f"{MOST_OPEN} invitations are open already.")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    row = _insert(change.connection, token, INVITATION_S, by, kind="invitation", org=org_id, email=address, role=role)
    change.audit("member.invite", str(row["id"]), org_id, role=role)
    return _invitation(row), token


def open_invitations(connection: Connection, org: str) -> Sequence[Invitation]:
    """An organisation's invitations that can still be taken up, newest first."""
    query = sa.select(one_time_link).where(one_time_link.c.org == uuid.UUID(org), _works())
    rows = connection.execute(query.order_by(one_time_link.c.created_at.desc(), one_time_link.c.id)).mappings()
    return [_invitation(row) for row in rows]


def withdraw(change: Change, org: str, invitation: str) -> None:
    """Ends an invitation. Raises ``NotFound``."""
    try:
        wanted = uuid.UUID(invitation)
    except ValueError:
        raise NotFound("no such invitation") from None
    if not _revoke(change.connection, one_time_link.c.org == uuid.UUID(org), one_time_link.c.id == wanted):
        raise NotFound("no such invitation")
    change.audit("member.uninvite", invitation, uuid.UUID(org))


def withdraw_of(connection: Connection, org: str, who: str) -> int:
    """Ends the invitations that a person made in an organisation, or that were made for them. Returns how many."""
    address = sa.select(person.c.email).where(person.c.id == uuid.UUID(who)).scalar_subquery()
    theirs = sa.or_(one_time_link.c.created_by == uuid.UUID(who), one_time_link.c.email == address)
    return _revoke(connection, one_time_link.c.org == uuid.UUID(org), theirs)


def invited(connection: Connection, token: str) -> Invited:
    """Who is invited where. Raises ``NotFound`` for a token that does not work (any more)."""
    query = (
        sa.select(one_time_link, organisation.c.name.label("org_name"), person.c.password_hash)
        .join(organisation, sa.and_(organisation.c.id == one_time_link.c.org, organisation.c.state != "closed"))
        .outerjoin(person, person.c.email == one_time_link.c.email)
        .where(one_time_link.c.hash == _hash(token), one_time_link.c.kind == "invitation", _works())
    )
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise _used_up()
    return Invited(str(row["org"]), row["org_name"], row["email"], row["role"], row["password_hash"] is not None)


def accept(change: Change, token: str, *, name: str | None, new_hash: str | None) -> tuple[Person, str]:
    """Takes an invitation up, once. Returns the person, made where there was none, and the organisation.

    Args:
        change: an open one; its actor becomes the person.
        token: the invitation's.
        name: of a person who has no account yet.
        new_hash: their password's (``people.hash_password``). None for someone with an account, whose password the
            caller has checked.

    Raises ``NotFound`` (used, ended, wrong), ``InvalidRequest`` (no name), ``PermissionDenied`` (deactivated person).
    """
    row = _use(change.connection, token, "invitation")
    known = people.by_email(change.connection, row["email"])
    if known is None:
        if name is None or new_hash is None:
            raise InvalidRequest("a new account needs a name and a password", param="name")
        known = people.create(change, row["email"], name)
    if known.state != "active":
        raise PermissionDenied("This account is deactivated.")
    if new_hash is not None:
        people.keep_first_password(change.connection, known.id, new_hash)
    change.actor = known.id
    people.join(change, str(row["org"]), known.id, row["role"])
    return known, str(row["org"])


def waiting_for(connection: Connection, email: str) -> Sequence[tuple[str, MemberRole]]:
    """The organisations (and roles) of the open invitations for an address; closed organisations invite nobody."""
    link = one_time_link.c
    query = (
        sa.select(link.org, link.role)
        .join(organisation, sa.and_(organisation.c.id == link.org, organisation.c.state != "closed"))
        .where(link.kind == "invitation", link.email == email, _works())
    )
    return [(str(row.org), row.role) for row in connection.execute(query.order_by(link.created_at))]


def used_by_address(connection: Connection, email: str) -> int:
    """Marks the open invitations of an address as used: its owner came in by another door. Returns how many."""
    mine = sa.and_(one_time_link.c.kind == "invitation", one_time_link.c.email == email, _works())
    return connection.execute(one_time_link.update().where(mine).values(used_at=sa.func.now())).rowcount


def reset(change: Change, who: str) -> str:
    """A token with which a person may choose a new password within the hour. Earlier ones end."""
    _revoke(change.connection, one_time_link.c.person == uuid.UUID(who))
    token = secrets.token_urlsafe(TOKEN_BYTES)
    _insert(change.connection, token, RESET_S, None, kind="reset", person=uuid.UUID(who))
    change.audit("person.reset_asked", who)
    return token


def use_reset(change: Change, token: str, new_hash: str) -> str:
    """Sets the password that ``new_hash`` belongs to, once, and ends the person's sessions. Returns the person.

    Raises ``NotFound`` for a token that does not work (any more).
    """
    who = str(_use(change.connection, token, "reset")["person"])
    change.actor = who
    people.keep_password(change, who, new_hash)
    sessions.end_all(change.connection, who)
    return who


def _insert(connection: Connection, token: str, lasts_s: int, by: str | None, **values: object) -> RowMapping:
    made = values | {
        "id": uuid.uuid4(),
        "hash": _hash(token),
        "created_by": None if by is None else uuid.UUID(by),
        "expires_at": sa.func.now() + dt.timedelta(seconds=lasts_s),
    }
    return connection.execute(one_time_link.insert().values(made).returning(one_time_link)).mappings().one()


def _use(connection: Connection, token: str, kind: str) -> RowMapping:
    """One statement marks and reads: of two at once, one finds nothing."""
    statement = (
        one_time_link.update()
        .where(one_time_link.c.hash == _hash(token), one_time_link.c.kind == kind, _works())
        .values(used_at=sa.func.now())
        .returning(one_time_link)
    )
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        raise _used_up()
    return row


def _revoke(connection: Connection, *which: sa.ColumnElement[bool]) -> int:
    statement = one_time_link.update().where(*which, _works()).values(revoked_at=sa.func.now())
    return connection.execute(statement).rowcount


def _works() -> sa.ColumnElement[bool]:
    link = one_time_link.c
    return sa.and_(link.used_at.is_(None), link.revoked_at.is_(None), link.expires_at > sa.func.now())


def _used_up() -> NotFound:
    return NotFound("This link has been used, has ended, or never was.")


def _invitation(row: RowMapping) -> Invitation:
    by = row["created_by"]
    return Invitation(
        id=str(row["id"]),
        email=row["email"],
        role=row["role"],
        created_by=None if by is None else str(by),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
