"""Outbox numbers: gapless and in order per organisation, whoever writes at the same time."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import Engine, select

from gateway.accounts import outbox
from gateway.db.tables import accounts


def new_organisation(engine: Engine) -> str:
    org = uuid.uuid4()
    with engine.begin() as connection:
        connection.execute(accounts.organisation.insert().values(id=org, name="회사", billing="prepaid"))
    return str(org)


def numbers(engine: Engine, org: str) -> list[int]:
    query = select(accounts.outbox.c.seq).where(accounts.outbox.c.org == org).order_by(accounts.outbox.c.seq)
    with engine.connect() as connection:
        return list(connection.scalars(query))


def test_numbers_count_from_one_for_each_organisation(engine: Engine) -> None:
    first, second = new_organisation(engine), new_organisation(engine)
    with engine.begin() as connection:
        given = [outbox.append(connection, org) for org in (first, second, first)]
    assert given == [1, 1, 2]


def test_a_number_of_a_transaction_that_failed_is_given_again(engine: Engine) -> None:
    org = new_organisation(engine)
    with engine.connect() as connection:
        outbox.append(connection, org)
        connection.rollback()
    with engine.begin() as connection:
        assert outbox.append(connection, org) == 1


def test_transactions_at_once_leave_no_gap_and_take_no_number_twice(engine: Engine) -> None:
    org, start = new_organisation(engine), Barrier(4)

    def write(failing: bool) -> None:
        start.wait()
        for _ in range(10):
            with engine.connect() as connection:
                outbox.append(connection, org, balance_micro=1)
                outbox.append(connection, org, balance_micro=1)
                connection.rollback() if failing else connection.commit()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, failing) for failing in (False, False, False, True)]:
            done.result()
    assert numbers(engine, org) == list(range(1, 61))


def test_a_later_number_is_never_visible_before_an_earlier_one(engine: Engine) -> None:
    org = new_organisation(engine)
    with engine.connect() as first, ThreadPoolExecutor(1) as pool:
        outbox.append(first, org)

        def second() -> int:
            with engine.begin() as connection:
                return outbox.append(connection, org)

        waiting = pool.submit(second)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        assert numbers(engine, org) == []
        first.commit()
        assert waiting.result(timeout=60) == 2
    assert numbers(engine, org) == [1, 2]
