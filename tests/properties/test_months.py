"""Random months on real books: whatever is used, bought and comes late, the documents, the lots and the ledger agree."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from decimal import Decimal
from functools import reduce
from typing import NamedTuple

import openpyxl
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

import gateway.redis
from billing.exports import books as exports
from billing.invoices import close
from gateway.invoices import content, parties
from gateway.money import EXACT, vat_on, won_floor
from tests.billing.books import Books
from tests.billing.conftest import engines, role_url
from tests.billing.invoices.closing import DRAFTER, MONTH, Closing, at, said

__all__ = ["engines", "role_url"]  # the fixtures of the books

WON = st.decimals("0.000001", "99999", places=6).map(lambda won: format(won, "f"))

DEBITS = sa.text(
    "SELECT sum(e.won) FROM entry e JOIN ledger_transaction t ON t.id = e.txn "
    "WHERE t.org = CAST(:org AS uuid) AND t.month = :month AND e.won > 0"
)


class Call(NamedTuple):
    day: int
    won: str
    late: bool


class Topup(NamedTuple):
    day: int
    won: int
    method: str


CALLS = st.lists(st.builds(Call, st.integers(1, 31), WON, st.booleans()), min_size=1, max_size=8)
TOPUPS = st.lists(
    st.builds(Topup, st.integers(1, 31), st.integers(1, 60_000), st.sampled_from(["transfer", "card", "promotion"])),
    max_size=4,
)
CHANGE = st.one_of(st.none(), st.integers(2, 30))
RULES = st.builds(
    lambda vat, rounding: {"vat": vat, "vat_rounding": rounding},
    st.sampled_from(["exclusive", "zero_rated", "inclusive"]),
    st.sampled_from(["floor", "half_up", "ceil"]),
)


@pytest.fixture
def books(engines: tuple[Engine, Engine], redis_url: str) -> Iterator[Books]:
    """The stores; every example makes an organisation of its own."""
    redis = gateway.redis.connect(redis_url)
    yield Books(*engines, redis, "", "")
    redis.close()


def new(books: Books, topups: list[Topup], changes_on: int | None, rule: dict[str, str]) -> Closing:
    org, key = books.new_org()
    made = Closing(Books(books.owner, books.billing, books.redis, org, key))
    if topups and rule["vat"] == "inclusive":
        rule = rule | {"vat": "exclusive"}  # credit is bought net of VAT: the two are refused together
    with books.owner.begin() as connection:
        parties.set_profile(connection, org, rule, "test")
    made.billing("prepaid", at(1, 0))
    for topup in topups:
        made.lot(topup.won, topup.method, at(topup.day, 6))  # type: ignore[arg-type]
    if changes_on is not None:
        made.billing("postpaid", at(changes_on, 0))
    return made


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS, topups=TOPUPS, changes_on=CHANGE, rule=RULES)
def test_any_month_adds_up_and_lateness_changes_nothing_in_the_end(
    books: Books, calls: list[Call], topups: list[Topup], changes_on: int | None, rule: dict[str, str]
) -> None:
    on_time, late = (new(books, topups, changes_on, rule) for _ in range(2))
    for call in calls:
        on_time.use(at(call.day), call.won)
    for call in sorted(calls, key=lambda call: call.late):
        if call.late and not _is_final(late) and any(not other.late for other in calls):
            late.close()
        event = late.use(at(call.day), call.won)
        late.books.append(event, hold=False)  # delivered again, perhaps once its month is final
        late.books.settle()
    final = on_time.close()
    amended = late.amend() if _is_final(late) and any(call.late for call in calls) else late.close()
    totals, funding = said(final).totals, said(final).funding
    gross = reduce(EXACT.add, (Decimal(call.won) for call in calls))
    assert funding.total == gross
    assert totals.rule.charged(totals.whole) == won_floor(EXACT.subtract(gross, funding.promotion))
    if rule["vat"] == "zero_rated":
        assert totals.whole.vat == 0
    elif totals.rule.inclusive:
        assert totals.whole.supply == totals.whole.total * 10 // 11
    else:
        assert totals.whole.vat == vat_on(totals.whole.supply, totals.rule.mode)
    assert sum(line.amount.total for line in totals.lines) + totals.promotion.total == totals.whole.total
    assert content.write(content.read(final.content)) == final.content
    with on_time.connection() as connection:
        assert close.draft(connection, on_time.org, MONTH, DRAFTER) == final
    assert on_time.balances() == late.balances()
    assert on_time.left() == late.left()
    assert [line.amount for line in totals.lines] == [line.amount for line in said(amended).totals.lines]
    for one in (on_time, late):
        assert_files_agree(one)
    assert on_time.violations() == {}


def assert_files_agree(closing: Closing) -> None:
    """The settlement sums to the document, the tax sheet to its taxable part, and the journal balances by the ledger."""
    with closing.books.billing.connect() as connection:
        last = close.stored(connection, closing.org, MONTH)[-1]
        files, _ = exports.tax_files(connection, MONTH, closing.org, None)
        booked = connection.execute(DEBITS, {"org": closing.org, "month": MONTH}).scalar_one()
    totals = said(last).totals
    settled = table(closing, "settlement")[-1]
    assert [int(settled[name]) for name in ("공급가액", "세액", "합계")] == [
        totals.whole.supply, totals.whole.vat, totals.whole.total,
    ]  # fmt: skip
    assert Decimal(settled["정확금액"]) == totals.exact and Decimal(settled["단수차이"]) == totals.rounding
    journal = table(closing, "journal")
    assert Decimal(journal[-1]["차변"]) == Decimal(journal[-1]["대변"]) <= booked
    assert sum(Decimal(line["차변"] or 0) for line in journal[:-1]) == Decimal(journal[-1]["차변"])
    rows = [
        row for file in files for row in openpyxl.load_workbook(io.BytesIO(file)).worksheets[0].iter_rows(min_row=7)
    ]
    taxed = [(row[19].value, row[20].value) for row in rows]
    assert taxed == ([(totals.taxable.supply, totals.taxable.vat)] if totals.taxable.supply else [])


def table(closing: Closing, what: exports.What) -> list[dict[str, str]]:
    """An export's rows by their Korean headings."""
    target = io.BytesIO()
    exports.write(closing.books.billing, what, MONTH, closing.org, "csv", target)
    head, _, *rows = csv.reader(io.StringIO(target.getvalue().decode("utf-8-sig"), newline=""))
    return [dict(zip(head, row, strict=True)) for row in rows]


def _is_final(closing: Closing) -> bool:
    with closing.books.billing.connect() as connection:
        known = close.stored(connection, closing.org, MONTH)
    return bool(known) and known[-1].final
