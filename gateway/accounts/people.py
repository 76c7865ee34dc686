"""People and what they may do where. Passwords are argon2id; verification costs the same whoever asks."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterable
from typing import Literal

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, RowMapping, select
from sqlalchemy.dialects.postgresql import insert

from gateway.accounts import limits
from gateway.accounts.change import Change
from gateway.db.tables.accounts import membership, person
from gateway.errors import Conflict, InvalidRequest, NotFound, PermissionDenied

MemberRole = Literal["owner", "member", "finance"]

SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 512
"""Hashing takes longer the longer the text is: a limit, so that nobody makes us hash megabytes."""

_NOT_IN_ONE = frozenset('(),:;<>[]\\"')
"""In the header of a mail these make several addresses of one, or another."""

_hasher = PasswordHasher()


class Person(msgspec.Struct, frozen=True):
    """A person, without the password."""

    id: str
    email: str
    name: str
    operator: bool
    state: Literal["active", "deactivated"]


def create(change: Change, email: str, name: str, password: str | None = None, *, operator: bool = False) -> Person:
    """Makes a person; without a password they cannot sign in by one. Raises ``Conflict``, ``InvalidRequest``."""
    values = {
        "id": uuid.uuid4(),
        "email": address(email),
        "name": limits.name(name),
        "password_hash": None if password is None else hash_password(password),
        "operator": operator,
    }
    statement = insert(person).values(values).on_conflict_do_nothing(index_elements=["email"]).returning(person)
    row = change.connection.execute(statement).mappings().one_or_none()
    if row is None:
        raise Conflict("there is a person with this e-mail address")
    change.audit("person.create", str(row["id"]), operator=operator)
    return _view(row)


def by_email(connection: Connection, email: str) -> Person | None:
    """The person with this address, however it is typed."""
    row = connection.execute(select(person).where(person.c.email == _typed(email))).mappings().one_or_none()
    return None if row is None else _view(row)


def verify(connection: Connection, email: str, password: str) -> Person | None:
    """The active person with this address and password, else None; an unknown address costs as much as a known one."""
    found, stored = credentials(connection, email)
    return found if check_password(stored, password) else None


def credentials(connection: Connection, email: str) -> tuple[Person | None, str | None]:
    """The active person with this address and the hash of their password; None for what there is not."""
    row = connection.execute(select(person).where(person.c.email == _typed(email))).mappings().one_or_none()
    if row is None or row["state"] != "active":
        return None, None
    return _view(row), row["password_hash"]


def check_password(stored: str | None, password: str) -> bool:
    """Whether the password is the one that ``stored`` is the hash of. Takes some 50 ms and 64 MB, also for None."""
    if len(password) > LONGEST_PASSWORD:
        return False
    try:
        _hasher.verify(stored or _nobody(), password)
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def set_password(change: Change, who: str, password: str) -> None:
    """Replaces a person's password. Raises ``NotFound``, ``InvalidRequest``."""
    keep_password(change, who, hash_password(password))


def keep_password(change: Change, who: str, new_hash: str) -> None:
    """The same, with the hash of ``hash_password``, which is not made inside a transaction. Raises ``NotFound``."""
    statement = person.update().where(person.c.id == uuid.UUID(who)).values(password_hash=new_hash)
    if not change.connection.execute(statement).rowcount:
        raise NotFound("no such person")
    change.audit("person.password", who)


def keep_first_password(connection: Connection, who: str, new_hash: str) -> None:
    """Sets the password of someone who has none. Raises ``PermissionDenied`` where there is one."""
    mine = person.update().where(person.c.id == uuid.UUID(who), person.c.password_hash.is_(None))
    if not connection.execute(mine.values(password_hash=new_hash)).rowcount:
        raise PermissionDenied("There is an account with this address: use its password.")


def join(change: Change, org: str, who: str, role: MemberRole) -> None:
    """Makes a person an active member of an organisation with this role, or changes the role they have."""
    values = {"org": uuid.UUID(org), "person": uuid.UUID(who), "role": role, "state": "active"}
    change.connection.execute(
        insert(membership)
        .values(values)
        .on_conflict_do_update(index_elements=["org", "person"], set_={"role": role, "state": "active"})
    )
    change.audit("member.join", who, uuid.UUID(org), role=role)


def organisations_of(connection: Connection, who: str) -> list[tuple[str, MemberRole]]:
    """The organisations (id, role) where a person is an active member, oldest first."""
    query = (
        select(membership.c.org, membership.c.role)
        .where(membership.c.person == uuid.UUID(who), membership.c.state == "active")
        .order_by(membership.c.created_at, membership.c.org)
    )
    return [(str(row.org), row.role) for row in connection.execute(query)]


def names(connection: Connection, org: str, ids: Iterable[str]) -> dict[str, str]:
    """Names by id of those who are, or were, members of an organisation; others' are nobody's business there."""
    wanted = [uuid.UUID(who) for who in ids]
    query = (
        select(person.c.id, person.c.name)
        .join(membership, membership.c.person == person.c.id)
        .where(membership.c.org == uuid.UUID(org), person.c.id.in_(wanted))
    )
    return {str(row.id): row.name for row in connection.execute(query)}


def hash_password(password: str) -> str:
    """Argon2id with the library's present parameters. Raises ``InvalidRequest`` for one too short or too long."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InvalidRequest(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters", param="password")
    return _hasher.hash(password)


@functools.cache
def _nobody() -> str:
    """What an unknown address is compared with."""
    return _hasher.hash(uuid.uuid4().hex)


def address(email: str) -> str:
    """An e-mail address as it is stored: in lower case. Raises ``InvalidRequest``."""
    email = email.strip().lower()
    name, at, place = email.partition("@")
    one = email.isprintable() and not any(c.isspace() or c in _NOT_IN_ONE for c in email) and "@" not in place
    if not (name and at and "." in place and one) or len(email) > limits.LONGEST_NAME:
        raise InvalidRequest("not an e-mail address", param="email")
    return email


def _typed(email: str) -> str:
    """An address however it was typed. NUL, which PostgreSQL takes in no text, is in nobody's."""
    return email.strip().lower().replace("\0", "�")


def _view(row: RowMapping) -> Person:
    return Person(str(row["id"]), row["email"], row["name"], row["operator"], row["state"])
