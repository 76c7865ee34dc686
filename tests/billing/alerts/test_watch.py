"""Thresholds of limits: passed once, told once, decided from what is booked."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any

import pytest

from billing import upkeep
from billing.alerts import watch
from gateway.wire import keys
from tests.billing.books import Books

NOW = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
WON = 1_000_000


def change(books: Books, statement: str, **values: Any) -> None:
    with books.owner.begin() as connection:
        connection.exec_driver_sql(statement, values)


def spent_in_month(books: Books, won: int) -> None:
    change(
        books,
        "INSERT INTO window_month VALUES (%(org)s, '202611', %(micro)s) "
        "ON CONFLICT (org, month) DO UPDATE SET spent_micro = excluded.spent_micro",
        org=books.org, micro=won * WON,
    )  # fmt: skip


def look(books: Books, refused: Iterable[str] = (), *, now: dt.datetime = NOW) -> list[tuple[str, int]]:
    """One look as billing's role; (scope, percent) of all alerts of this organisation."""
    with books.billing.connect() as connection:
        watch.look(connection, refused, mail=True, now=now)
    return [
        tuple(row) for row in books.rows("SELECT scope, percent FROM alert WHERE org = :org ORDER BY id", org=books.org)
    ]


def told(books: Books) -> list[tuple[str, int]]:
    rows = books.rows("SELECT target, payload FROM alert_delivery WHERE org = :org ORDER BY id", org=books.org)
    return [(row.target, row.payload["percent"]) for row in rows]


@pytest.fixture
def limited(books: Books) -> Books:
    """A month limit of 1,000 won, and one address to tell."""
    change(books, "UPDATE organisation SET month_limit_won = 1000 WHERE id = %(org)s", org=books.org)
    change(
        books,
        "INSERT INTO alert_settings (org, thresholds, mail_people, emails) "
        "VALUES (%(org)s, '{50,80,100}', true, '{team@example.kr}')",
        org=books.org,
    )
    return books


def test_each_threshold_is_passed_once_and_told_once(limited: Books) -> None:
    spent_in_month(limited, 499)
    assert look(limited) == []
    spent_in_month(limited, 500)
    assert look(limited) == look(limited) == [("month", 50)]
    spent_in_month(limited, 800)
    look(limited)
    spent_in_month(limited, 1_100)
    assert look(limited) == [("month", 50), ("month", 80), ("month", 100)]
    assert told(limited) == [("team@example.kr", 50), ("team@example.kr", 80), ("team@example.kr", 100)]


def test_of_thresholds_passed_at_once_only_the_highest_is_told(limited: Books) -> None:
    spent_in_month(limited, 900)
    assert set(look(limited)) == {("month", 50), ("month", 80)}
    assert told(limited) == [("team@example.kr", 80)]


def test_a_threshold_that_is_off_is_not_told(limited: Books) -> None:
    change(limited, "UPDATE alert_settings SET thresholds = '{50}' WHERE org = %(org)s", org=limited.org)
    spent_in_month(limited, 900)
    look(limited)
    assert told(limited) == [("team@example.kr", 50)]


def test_another_limit_and_another_month_begin_anew(limited: Books) -> None:
    spent_in_month(limited, 600)
    look(limited)
    change(limited, "UPDATE organisation SET month_limit_won = 1200 WHERE id = %(org)s", org=limited.org)
    assert look(limited) == [("month", 50), ("month", 50)]
    assert len(look(limited, now=NOW + dt.timedelta(days=20))) == 2


def test_a_limit_that_refuses_calls_is_reached_although_a_little_is_left(limited: Books) -> None:
    refused = [f"month {limited.org}"]
    spent_in_month(limited, 790)
    assert look(limited, refused) == [("month", 50)]  # one call was too large, others go on
    spent_in_month(limited, 970)
    assert set(look(limited, refused)) == {("month", 50), ("month", 80), ("month", 100)}
    assert told(limited)[-1] == ("team@example.kr", 100)


def test_a_keys_limit_is_told_with_the_keys_name_and_a_limit_of_nothing_is_not(limited: Books) -> None:
    change(limited, "UPDATE api_key SET limit_won = 10 WHERE id = %(key)s", key=limited.key)
    change(
        limited, "INSERT INTO window_key VALUES (%(key)s, %(org)s, %(micro)s)",
        key=limited.key, org=limited.org, micro=5 * WON,
    )  # fmt: skip
    assert look(limited) == [("key", 50)]
    payload = limited.one("SELECT payload FROM alert_delivery WHERE org = :org", org=limited.org)
    assert payload["key"] == {"id": limited.key, "name": "k"}
    assert (payload["limit_krw"], payload["spent_krw"], payload["left_krw"]) == ("10", "5", "5")
    change(limited, "UPDATE api_key SET limit_won = 0 WHERE id = %(key)s", key=limited.key)
    assert look(limited) == [("key", 50)]


def test_credit_is_measured_from_the_balance_after_the_last_top_up(limited: Books) -> None:
    def top_up(amount: int) -> None:
        limited.request_topup(amount, uuid.uuid4().hex)
        with limited.billing.connect() as connection:
            assert upkeep.book_topups(connection) == 1

    def spend(won: int) -> None:
        change(
            limited, "UPDATE window_org SET balance_micro = balance_micro - %(micro)s WHERE org = %(org)s",
            org=limited.org, micro=won * WON,
        )  # fmt: skip

    top_up(1_000)
    spend(499)
    assert look(limited) == []
    spend(1)
    assert look(limited) == [("credit", 50)]
    top_up(1_500)  # 2,000 won from here on
    spend(999)
    assert look(limited) == [("credit", 50)]
    spend(601)
    assert set(look(limited)[1:]) == {("credit", 50), ("credit", 80)}


def test_two_processes_that_look_at_once_raise_one_alert(limited: Books) -> None:
    spent_in_month(limited, 500)
    look(limited)
    with limited.billing.connect() as connection, connection.begin():
        row = connection.exec_driver_sql(
            "SELECT org, scope, subject, period, limit_micro, percent, spent_micro FROM alert WHERE org = %(org)s",
            {"org": limited.org},
        ).one()
        assert watch.raise_passed(connection, [row], mail=True) == 0  # what the slower one had read before
    assert len(told(limited)) == 1


def test_a_refusal_counts_until_the_calls_before_it_are_surely_booked(books: Books) -> None:
    seconds, _ = books.redis.time()
    books.redis.hset(keys.REFUSED, f"month {books.org}", seconds * 1000)
    books.redis.hset(keys.REFUSED, f"credit {books.org}", (seconds - watch.REFUSED_KEPT_S - 1) * 1000)
    assert sorted(watch.take_refused(books.redis)) == [f"credit {books.org}", f"month {books.org}"]
    assert watch.take_refused(books.redis) == [f"month {books.org}"]  # forgotten is only what has been told late
    assert watch.take_refused(books.redis) == [f"month {books.org}"]
