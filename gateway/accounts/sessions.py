"""Sessions of people in the console: a random token in a cookie, its SHA-256 in a row.

A session is checked against person and membership at every use, so that whoever leaves is out at once. It ends
``IDLE_S`` after its last use and ``LONGEST_S`` after it began. The CSRF token is derived from the session's own, so a
page on another origin, which cannot read the answer that holds it, cannot make it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
import uuid

import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection

from gateway.accounts.change import Change
from gateway.accounts.identity import Role
from gateway.db.tables.accounts import membership, organisation, person
from gateway.db.tables.people import session
from gateway.errors import PermissionDenied

IDLE_S = 2 * 3_600
LONGEST_S = 12 * 3_600
"""A working day: a forgotten browser is signed out by the next morning."""
SEEN_STEP_S = 60
"""Use is written down at most once a minute: a page of twenty requests is one write."""
TOKEN_BYTES = 32


class Session(msgspec.Struct, frozen=True):
    """Who is signed in, and where they act. ``roles`` is empty for an operator without an organisation chosen;
    ``places`` counts the memberships."""

    person: str
    name: str
    email: str
    operator: bool
    org: str | None
    org_name: str | None
    roles: tuple[Role, ...]
    expires_at: dt.datetime
    places: int = 1


def begin(change: Change, who: str, org: str | None) -> str:
    """Opens a session of a person and returns its token, which is known nowhere else. Ended ones are cleared away."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    change.connection.execute(session.delete().where(_over()))
    change.connection.execute(
        session.insert().values(
            hash=_hash(token),
            person=uuid.UUID(who),
            org=None if org is None else uuid.UUID(org),
            expires_at=sa.func.now() + dt.timedelta(seconds=LONGEST_S),
        )
    )
    change.audit("session.begin", who, None if org is None else uuid.UUID(org))
    return token


def find(connection: Connection, token: str, *, use: bool = True) -> Session | None:
    """The live session behind a token, and its use noted; None where it, the person or the membership has ended.

    ``use``: False for what a page asks by itself, so that a forgotten one does not keep its session alive.
    """
    place = membership.alias()
    places = sa.select(sa.func.count()).where(place.c.person == session.c.person, place.c.state == "active")
    query = (
        sa.select(
            session.c.person, session.c.org, session.c.seen_at, session.c.expires_at, person.c.name, person.c.email,
            person.c.operator, membership.c.role, organisation.c.name.label("org_name"),
            places.scalar_subquery().label("places"),
        )
        .join(person, sa.and_(person.c.id == session.c.person, person.c.state == "active"))
        .outerjoin(organisation, sa.and_(organisation.c.id == session.c.org, organisation.c.state != "closed"))
        .outerjoin(
            membership,
            sa.and_(
                membership.c.org == organisation.c.id,
                membership.c.person == session.c.person,
                membership.c.state == "active",
            ),
        )
        .where(session.c.hash == _hash(token), sa.not_(_over()))
    )  # fmt: skip
    row = connection.execute(query).one_or_none()
    if row is None or (row.role is None and not row.operator):
        return None
    if use:
        idle = session.c.seen_at < sa.func.now() - dt.timedelta(seconds=SEEN_STEP_S)
        connection.execute(session.update().where(session.c.hash == _hash(token), idle).values(seen_at=sa.func.now()))
    roles: tuple[Role, ...] = tuple(r for r in (row.role, "operator" if row.operator else None) if r is not None)
    there = row.org_name is not None
    return Session(
        person=str(row.person),
        name=row.name,
        email=row.email,
        operator=row.operator,
        org=str(row.org) if there else None,
        org_name=row.org_name,
        roles=roles,
        expires_at=row.expires_at,
        places=row.places,
    )


def move(change: Change, token: str, found: Session, org: str) -> str:
    """Goes on in another organisation, under a new token. Raises ``PermissionDenied`` where the person is no member."""
    if not found.operator:
        query = sa.select(membership.c.role).where(
            membership.c.org == uuid.UUID(org),
            membership.c.person == uuid.UUID(found.person),
            membership.c.state == "active",
        )
        if change.connection.scalar(query) is None:
            raise PermissionDenied("You are not a member of that organisation.")
    end(change.connection, token)
    return begin(change, found.person, org)


def end(connection: Connection, token: str) -> None:
    """Signs out; a token that is none is nothing."""
    connection.execute(session.delete().where(session.c.hash == _hash(token)))


def end_all(connection: Connection, who: str, *, org: str | None = None, but: str | None = None) -> int:
    """Ends a person's sessions, or those in one organisation, except the one with the token ``but``. Returns how many."""
    statement = session.delete().where(session.c.person == uuid.UUID(who))
    if org is not None:
        statement = statement.where(session.c.org == uuid.UUID(org))
    if but is not None:
        statement = statement.where(session.c.hash != _hash(but))
    return connection.execute(statement).rowcount


def csrf_token(secret: bytes, token: str) -> str:
    """What a page must send back with every change made under this session.

    Args:
        secret: the installation's 32 bytes.
        token: the session's.
    """
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"csrf").derive(secret)
    return hmac.new(key, token.encode(), hashlib.sha256).hexdigest()


def _over() -> sa.ColumnElement[bool]:
    idle = session.c.seen_at < sa.func.now() - dt.timedelta(seconds=IDLE_S)
    return sa.or_(session.c.expires_at <= sa.func.now(), idle)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
