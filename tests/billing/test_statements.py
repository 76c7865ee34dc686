"""A provider's statement against the books: what agrees, what differs and why, margin and exchange apart."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from billing import statements
from billing.statements import Difference
from gateway.wire.event import Tokens
from tests.billing.books import Books
from tests.billing.events import attempt, job_id, part

NOON = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
DAY = NOON.date()
HEAD = "Date,Model,Input tokens,Output tokens,Amount\n"


def used(books: Books, provider: str, moment: dt.datetime = NOON) -> None:
    """gpt-4o, 1,000 in and 500 out at 2.50 and 10.00 USD: 0.0075 USD, 10.125 won at 1,350."""
    called = attempt(provider=provider)
    job = job_id(int(moment.timestamp() * 1000))
    books.append(books.event(job=job, provider=provider, parts=[part()], attempts=[called]), hold=False)
    books.settle()


def test_a_statement_that_agrees_shows_margin_and_exchange_apart(books: Books) -> None:
    used(books, "p1")
    statement = statements.read_csv(f'{HEAD}2026-01-05,openai/gpt-4o,"1,000",500,$0.0075\n'.encode())
    with books.billing.begin() as connection:
        result = statements.match(connection, "p1", statement, paid_rate=Decimal(1400))
        assert statements.keep(connection, b"x1", result, "test") and not statements.keep(
            connection, b"x1", result, "test"
        )
    assert result.differences == ()
    assert (result.statement_usd, result.books_usd, result.charged_won) == (
        Decimal("0.0075"), Decimal("0.0075"), Decimal("10.125"),
    )  # fmt: skip
    assert result.margin_won == 0  # sold at the listed price
    assert result.exchange_won == Decimal("-0.375")  # 0.0075 USD, bought fifty won dearer


def test_every_difference_has_its_reason(books: Books) -> None:
    for days in (0, 1, 2, 3):
        used(books, "p2", NOON + dt.timedelta(days=days))
    raw = (
        f"{HEAD}2026-01-05,openai/gpt-4o,1000,500,0.0080\n"  # a twentieth of a cent: rounding
        "2026-01-06,openai/gpt-4o,1100,500,0.0078\n"
        "2026-01-07,openai/gpt-4o,1000,500,0.50\n"
        "2026-01-07,openai/o3,10,10,0.25\n"
        "2026-01-09,openai/gpt-4o,1,1,0.01\n"
    )
    with books.billing.connect() as connection:
        result = statements.match(connection, "p2", statements.read_csv(raw.encode()))
    day = dt.timedelta(days=1)
    assert result.differences == (
        Difference(DAY, "openai/gpt-4o", "rounding", 0, Decimal("0.0005")),
        Difference(DAY + day, "openai/gpt-4o", "other token counts", 100, Decimal("0.0003")),
        Difference(DAY + 2 * day, "openai/gpt-4o", "another price", 0, Decimal("0.4925")),
        Difference(DAY + 2 * day, "openai/o3", "only on the statement", 20, Decimal("0.25")),
        Difference(DAY + 3 * day, "openai/gpt-4o", "only in our books", -1500, Decimal("-0.0075")),
        Difference(DAY + 4 * day, "openai/gpt-4o", "only on the statement", 2, Decimal("0.01")),
    )
    assert result.exchange_won is None


def test_what_failed_attempts_used_is_our_cost_and_days_are_those_of_the_statements_zone(books: Books) -> None:
    late = dt.datetime(2026, 1, 5, 23, tzinfo=dt.UTC)
    failed = attempt(1, billed=False, status=500, provider="p3", tokens=Tokens(prompt=1000))
    event = books.event(
        job=job_id(int(late.timestamp() * 1000)), parts=[part()], attempts=[failed, attempt(2, provider="p3")]
    )
    books.append(event, hold=False)
    books.settle()
    raw = f"{HEAD}2026-01-06,openai/gpt-4o,2000,500,0.01\n".encode()
    with books.billing.connect() as connection:
        result = statements.match(connection, "p3", statements.read_csv(raw), zone="Asia/Seoul")
    assert (result.differences, result.margin_won) == ((), Decimal("-3.375"))  # the failed one cost 0.0025 USD at 1,350


@pytest.mark.parametrize("raw", ["", "a,b\n1,2\n", HEAD, HEAD + "yesterday,m,1,1,1\n", HEAD + "2026-01-05,m,1,1,1e3\n"])
def test_something_else_is_no_statement(raw: str) -> None:
    with pytest.raises(statements.StatementError):
        statements.read_csv(raw.encode())
