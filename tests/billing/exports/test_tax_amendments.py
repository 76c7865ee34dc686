"""Amended months in the upload sheet, reason by reason; and months paid in every way at once, in all the places they appear."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal
from typing import Any

import openpyxl
import pytest

from billing.exports import books as exports
from billing.invoices import close
from billing.invoices.payments import book_payment
from gateway.money import EXACT
from tests.billing.books import Books
from tests.billing.conftest import books, engines, role_url
from tests.billing.invoices.closing import FINALISER, MONTH, Closing, at, said

__all__ = ["books", "engines", "role_url"]  # the fixtures of the books

APPROVAL = "202601314100020300000a5d"
LAST = "20260131"
PAID = dt.date(2026, 2, 5)


def sheets(closing: Closing) -> list[list[dict[str, Any]]]:
    """The rows of every sheet, by the column's letter."""
    with closing.books.billing.connect() as connection:
        files, _ = exports.tax_files(connection, MONTH, closing.org, None)
    found: list[list[dict[str, Any]]] = []
    for file in files:
        sheet = openpyxl.load_workbook(io.BytesIO(file))["엑셀업로드양식"]
        letters = {1: "A", 2: "B", 20: "T", 21: "U", 22: "V", 55: "BC", 58: "BF", 59: "BG"}
        found.append([
            {letter: sheet.cell(row, place).value for place, letter in letters.items()}
            for row in range(7, sheet.max_row + 1)
        ])  # fmt: skip
    return found


def approved(closing: Closing, number: str | None) -> None:
    assert number is not None
    with closing.connection() as connection:
        close.approve(connection, number, APPROVAL, FINALISER)


def amended(closing: Closing, code: str) -> str:
    """A month of 100,000 won, issued, to which 50,000 came later. Returns the day of the change as the form has it."""
    closing.billing("postpaid", at(1, 0))
    closing.use(at(3), "100000")
    approved(closing, closing.close().number)
    closing.use(at(4), "50000")
    closing.amend(code=code)
    day = closing.books.one(
        "SELECT to_char(max(finalised_at) AT TIME ZONE 'Asia/Seoul', 'YYYYMMDD') FROM invoice WHERE org = :org",
        org=closing.org,
    )
    return str(day)


@pytest.mark.parametrize("code", ["01", "05"])
def test_a_mistake_is_taken_back_whole_and_said_anew_on_the_original_date(books: Books, code: str) -> None:
    closing = Closing(books)
    amended(closing, code)
    [[back, anew]] = sheets(closing)
    assert (back["B"], back["T"], back["U"], back["BF"]) == (LAST, -100_000, -10_000, -110_000)
    assert (anew["B"], anew["T"], anew["U"], anew["BF"]) == (LAST, 150_000, 15_000, 165_000)
    for row in (back, anew):
        assert f"수정 {code}" in row["V"] and APPROVAL in row["V"]


@pytest.mark.parametrize(("code", "on_the_day"), [("02", True), ("03", True), ("04", True), ("06", False)])
def test_a_change_is_its_difference_on_the_day_that_the_reason_asks_for(
    books: Books, code: str, *, on_the_day: bool
) -> None:
    closing = Closing(books)
    day = amended(closing, code)
    [[row]] = sheets(closing)
    assert (row["B"], row["T"], row["U"], row["BF"]) == (day if on_the_day else LAST, 50_000, 5_000, 55_000)


def test_what_was_amended_before_it_was_issued_is_issued_once_as_it_is_now(books: Books) -> None:
    closing = Closing(books)
    closing.billing("postpaid", at(1, 0))
    closing.use(at(3), "100000")
    closing.close()
    closing.use(at(4), "50000")
    number = closing.amend(code="02").number
    [[row]] = sheets(closing)
    assert (row["A"], row["B"], row["T"], row["V"]) == ("01", LAST, 150_000, number)
    approved(closing, number)
    assert sheets(closing) == []


def test_a_month_paid_in_every_way_says_the_same_on_the_document_in_the_sheet_and_in_the_ledger(books: Books) -> None:
    closing = Closing(books)
    closing.billing("prepaid", at(1, 0))
    closing.lot(10_000, "promotion", at(1, 1))
    closing.lot(20_000, "transfer", at(1, 2))
    closing.lot(30_000, "card", at(1, 3))
    closing.use(at(2), "12345.678")
    closing.use(at(5), "40000.25")
    closing.billing("postpaid", at(15, 0))
    closing.use(at(20), "7654.321")
    before = closing.balances()
    final = closing.close()
    totals, funding = said(final).totals, said(final).funding

    assert (funding.promotion, funding.transfer) == (Decimal(10_000), Decimal(20_000))
    assert (funding.card, funding.credit) == (Decimal("22345.928"), Decimal("7654.321"))
    assert funding.total == Decimal("60000.249")
    assert totals.whole.supply == 50_000
    assert totals.taxable + totals.by_card == totals.whole
    assert totals.taxable.supply == 27_654

    [[row]] = sheets(closing)
    assert (row["T"], row["U"]) == (totals.taxable.supply, totals.taxable.vat)
    assert (row["BC"], row["BF"]) == (totals.by_transfer.total, totals.due.total)
    assert row["BC"] + row["BF"] == row["T"] + row["U"]
    assert row["BG"] == "02"

    balances = closing.balances()
    assert balances["receivable"] == totals.due.total == 7_654 + 765
    assert balances.get("unbilled", Decimal(0)) == 0
    assert balances["wallet"] == Decimal("-7654.072")
    assert EXACT.subtract(balances["revenue"], before["revenue"]) == 10_000
    assert closing.left() == [Decimal(0), Decimal(0), Decimal("7654.072")]
    vat = closing.books.rows(
        "SELECT -sum(e.won) AS won FROM entry e JOIN account a ON a.id = e.account JOIN ledger_transaction t ON t.id = e.txn "
        "WHERE a.kind = 'vat_payable' AND t.org = :org AND t.kind = 'invoice'",
        org=closing.org,
    )
    assert vat[0].won == totals.due.vat
    assert closing.violations() == {}


def test_an_amendment_that_takes_all_of_it_back_has_a_number_and_its_row(books: Books) -> None:
    closing = Closing(books)
    closing.billing("prepaid", at(1, 0))
    closing.use(at(3), "1000.5")  # nothing was there to pay for it: it became due
    first = closing.close()
    approved(closing, first.number)
    with closing.connection() as connection:
        close.issue(connection, closing.org, MONTH, FINALISER, PAID)
        book_payment(connection, str(first.number), 1_100, PAID, "bank 1", FINALISER)
    closing.lot(2_000, "promotion", at(20))
    amended = closing.amend(code="02", why="보상 크레딧")
    assert (amended.number, said(amended).totals.whole.total) == (f"{first.number}-A1", 0)
    [[row]] = sheets(closing)
    assert (row["T"], row["U"], row["BF"]) == (-1_000, -100, -1_100)
    with closing.connection() as connection:
        assert close.issue(connection, closing.org, MONTH, FINALISER, PAID).state == "paid"
        back = book_payment(connection, str(amended.number), -1_100, PAID, "bank 2", FINALISER)
    assert (back.left, back.state) == (0, "paid")
    assert closing.balances() == {"wallet": Decimal("-999.5"), "promo": Decimal("999.5")}
    assert closing.violations() == {}
