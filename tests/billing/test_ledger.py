"""What the database itself promises of the ledger, and how top-ups are booked."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from billing import ledger
from tests.billing.books import Books


def open_transaction(connection: Connection, org: str) -> str:
    txn = str(uuid.uuid4())
    connection.execute(
        sa.text(
            "INSERT INTO ledger_transaction (id, kind, org, month, occurred_at) "
            "VALUES (:id, 'adjustment', :org, '202611', now())"
        ),
        {"id": txn, "org": org},
    )
    return txn


def accounts(connection: Connection, org: str) -> dict[str, int]:
    ledger.ensure_accounts(connection, [org])
    rows = connection.execute(sa.text("SELECT id, kind FROM account WHERE org = :org"), {"org": org})
    return {row.kind: row.id for row in rows}


ENTRY = sa.text("INSERT INTO entry (txn, account, won) VALUES (:txn, :account, :won)")


@pytest.mark.parametrize("role", ["owner", "billing"])
def test_a_statement_that_does_not_sum_to_zero_fails_at_once(books: Books, role: str) -> None:
    with getattr(books, role).connect() as connection:
        txn, of = open_transaction(connection, books.org), accounts(connection, books.org)
        with pytest.raises(IntegrityError, match="does not sum to zero"):
            connection.execute(ENTRY, {"txn": txn, "account": of["wallet"], "won": Decimal("0.0000000000000001")})


def test_copy_is_no_way_around_the_sum(books: Books) -> None:
    with books.billing.connect() as connection:
        txn, of = open_transaction(connection, books.org), accounts(connection, books.org)
        with pytest.raises(psycopg.IntegrityError, match="does not sum to zero"):
            copy_entries(connection, [(txn, of["wallet"], 5), (txn, of["revenue"], -4)])


def copy_entries(connection: Connection, entries: list[tuple[str, int, int]]) -> None:
    raw: Any = connection.connection.driver_connection
    with raw.cursor() as cursor, cursor.copy("COPY entry (txn, account, won) FROM STDIN") as copy:
        for entry in entries:
            copy.write_row(entry)


def test_an_entry_needs_its_transaction_and_account(books: Books) -> None:
    both = sa.text("INSERT INTO entry (txn, account, won) VALUES (:txn, :a, 1), (:txn, :b, -1)")
    with books.billing.connect() as connection:
        of = accounts(connection, books.org)
        with pytest.raises(IntegrityError, match="no ledger transaction"):
            connection.execute(both, {"txn": uuid.uuid4(), "a": of["wallet"], "b": of["revenue"]})
    with books.billing.connect() as connection:
        txn = open_transaction(connection, books.org)
        with pytest.raises(IntegrityError):
            connection.execute(both, {"txn": txn, "a": -1, "b": -2})


@pytest.mark.parametrize(("table", "column"), [("entry", "won"), ("ledger_transaction", "org"), ("account", "kind")])
@pytest.mark.parametrize("verb", ["UPDATE {} SET {} = NULL", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
@pytest.mark.parametrize("role", ["owner", "billing"])
def test_what_was_written_stays_as_it_was_written(books: Books, table: str, column: str, verb: str, role: str) -> None:
    with (
        getattr(books, role).connect() as connection,
        pytest.raises(DBAPIError, match=r"append-only|permission denied"),
    ):
        connection.execute(sa.text(verb.format(table, column)))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE account_balance SET won = 0",
        "INSERT INTO account_balance VALUES (1, 0)",
        "UPDATE usage SET won = 0",
        "DELETE FROM usage",
        "TRUNCATE usage",
        "DELETE FROM lot",
        "UPDATE lot SET amount = 1",
        "ALTER TABLE entry DISABLE TRIGGER posted",
        "CREATE TABLE mine ()",
        "SELECT hash FROM api_key",
    ],
)
def test_the_billing_role_may_do_no_more_than_it_must(books: Books, statement: str) -> None:
    with (
        books.billing.connect() as connection,
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
    ):
        connection.execute(sa.text(statement))


def test_the_billing_role_owns_nothing(books: Books) -> None:
    owned = "SELECT count(*) FROM pg_class WHERE relowner = 'wonrouter_billing'::regrole AND relpersistence = 'p'"
    assert books.one(owned) == 0


@pytest.mark.parametrize("role", ["wonrouter_api", "wonrouter_worker"])
@pytest.mark.parametrize("table", ["entry", "usage", "account", "ledger_transaction", "lot", "window_org"])
def test_other_roles_write_no_book(books: Books, role: str, table: str) -> None:
    may = "SELECT has_table_privilege(CAST(:role AS text), CAST(:table AS text), 'INSERT, UPDATE, DELETE, TRUNCATE')"
    assert books.one(may, role=role, table=table) is False


@pytest.mark.parametrize(
    ("method", "amount", "vat"), [("transfer", 123_456, 12_345), ("card", 9, 0), ("promotion", 10_005, 0)]
)
def test_a_topup_books_its_credit_and_its_vat_once(books: Books, method: ledger.Method, amount: int, vat: int) -> None:
    shared = {kind: books.balance(kind) for kind in ("cash_clearing", "vat_payable")}
    for _ in range(2):
        with books.billing.begin() as connection:
            ledger.top_up(connection, books.org, amount, method, "R-1")
    paid = 0 if method == "promotion" else amount + vat
    assert books.balance("wallet") == -amount
    assert books.balance("promo") == (amount if method == "promotion" else 0)
    assert books.balance("cash_clearing") - shared["cash_clearing"] == paid
    assert books.balance("vat_payable") - shared["vat_payable"] == -vat
    [lot] = books.rows("SELECT * FROM lot WHERE org = :org", org=books.org)
    assert (lot.amount, lot.vat, lot.remaining, lot.method) == (amount, vat, amount, method)


def test_an_adjustment_that_does_not_balance_is_refused(books: Books) -> None:
    with pytest.raises(IntegrityError, match="sum to zero"), books.billing.begin() as connection:
        ledger.adjust(connection, books.org, "A-1", "goodwill", {("wallet", books.org): Decimal(-5)})
    with books.billing.begin() as connection:
        sides = {("wallet", books.org): Decimal(-5), ("revenue", books.org): Decimal(5)}
        assert ledger.adjust(connection, books.org, "A-1", "goodwill", sides) is not None
    assert books.balance("wallet") == -5


def test_a_month_gets_its_partition_once_and_nothing_else_gets_one(books: Books) -> None:
    ensure = sa.text("SELECT ensure_usage_month(:month)")
    with books.billing.begin() as connection:
        assert connection.execute(ensure, {"month": "203001"}).scalar_one() is True
        assert connection.execute(ensure, {"month": "203001"}).scalar_one() is False
    with books.billing.begin() as connection, pytest.raises(DBAPIError, match="not a month"):
        connection.execute(ensure, {"month": "203013"})
