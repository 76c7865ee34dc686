"""People: one per address, passwords as argon2id, membership with a role."""

from __future__ import annotations

import uuid

import pytest
from redis import Redis
from sqlalchemy import Engine, select

from gateway.accounts import people
from gateway.accounts.change import OPERATOR, Change, changing
from gateway.accounts.organisations import Organisation
from gateway.db.tables.accounts import audit_log, membership, person
from gateway.errors import Conflict, InvalidRequest, NotFound

PASSWORD = "correct horse battery"


def address() -> str:
    return f"Kim.{uuid.uuid4().hex}@Example.KR"


def someone(change: Change, email: str) -> people.Person:
    return people.create(change, email, "김하나", PASSWORD)


def test_a_person_signs_in_with_address_and_password(engine: Engine, redis: Redis) -> None:
    email = address()
    with changing(engine, redis, OPERATOR) as change:
        made = someone(change, email)
    with engine.connect() as connection:
        assert people.verify(connection, f" {email.upper()}", PASSWORD) == made
        assert people.verify(connection, email, PASSWORD + "!") is None
        assert people.verify(connection, address(), PASSWORD) is None
        assert people.verify(connection, email, "x" * 1_000_000) is None


def test_the_password_is_kept_as_argon2id_and_told_to_nobody(engine: Engine, redis: Redis) -> None:
    with changing(engine, redis, OPERATOR) as change:
        made = someone(change, address())
        people.set_password(change, made.id, "another long one")
    with engine.connect() as connection:
        stored = connection.scalar(select(person.c.password_hash).where(person.c.id == made.id))
        log = connection.execute(select(audit_log).where(audit_log.c.subject == made.id)).all()
        assert people.verify(connection, made.email, PASSWORD) is None
        assert people.verify(connection, made.email, "another long one") == made
    assert stored is not None
    assert stored.startswith("$argon2id$")
    assert [row.action for row in log] == ["person.create", "person.password"]
    assert "another" not in repr(log)


def test_who_is_deactivated_or_has_no_password_cannot_sign_in(engine: Engine, redis: Redis) -> None:
    with changing(engine, redis, OPERATOR) as change:
        gone, invited = someone(change, address()), people.create(change, address(), "이")
        change.connection.execute(person.update().where(person.c.id == gone.id).values(state="deactivated"))
    with engine.connect() as connection:
        assert people.verify(connection, gone.email, PASSWORD) is None
        assert people.verify(connection, invited.email, "") is None


def test_an_address_is_one_person_however_it_is_typed(engine: Engine, redis: Redis) -> None:
    email = address()
    with changing(engine, redis, OPERATOR) as change:
        someone(change, email)
    with pytest.raises(Conflict), changing(engine, redis, OPERATOR) as change:
        someone(change, email.lower())


NO_ADDRESS = (
    "nobody",
    "a b@c.kr",
    "a@b.kr,c@d.kr",
    "a@b@c.kr",
    "<a@b.kr>",
    'a"@b.kr',
    "a\x00@b.kr",
    "a@b.kr\nBcc: c@d.kr",
)


@pytest.mark.parametrize(
    ("email", "password"),
    [*((email, PASSWORD) for email in NO_ADDRESS), ("a@b.kr", "short"), ("a@b.kr", "x" * 513)],
)
def test_a_wrong_address_or_password_is_refused(engine: Engine, redis: Redis, email: str, password: str) -> None:
    with pytest.raises(InvalidRequest), changing(engine, redis, OPERATOR) as change:
        people.create(change, email, "김", password)


def test_a_member_has_one_role_and_may_come_back(engine: Engine, redis: Redis, org: Organisation) -> None:
    with changing(engine, redis, OPERATOR) as change:
        made = someone(change, address())
        people.join(change, org.id, made.id, "member")
        people.join(change, org.id, made.id, "finance")
        assert people.organisations_of(change.connection, made.id) == [(org.id, "finance")]
        change.connection.execute(membership.update().where(membership.c.person == made.id).values(state="left"))
        assert people.organisations_of(change.connection, made.id) == []
        people.join(change, org.id, made.id, "owner")
        assert people.organisations_of(change.connection, made.id) == [(org.id, "owner")]


def test_the_password_of_nobody_cannot_be_set(engine: Engine, redis: Redis) -> None:
    with pytest.raises(NotFound), changing(engine, redis, OPERATOR) as change:
        people.set_password(change, str(uuid.uuid4()), PASSWORD)
