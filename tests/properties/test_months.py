"""Random months on real books: whatever is used, bought and comes late, the documents, the lots and the ledger agree."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import reduce
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

import gateway.redis
from billing.invoices import close
from gateway.invoices import content
from gateway.money import EXACT, vat_on, won_floor
from tests.billing.books import Books
from tests.billing.conftest import engines, role_url
from tests.billing.invoices.closing import DRAFTER, MONTH, Closing, at, said

__all__ = ["engines", "role_url"]  # the fixtures of the books

WON = st.decimals("0.000001", "99999", places=6).map(lambda won: format(won, "f"))


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


@pytest.fixture
def books(engines: tuple[Engine, Engine], redis_url: str) -> Iterator[Books]:
    """The stores; every example makes an organisation of its own."""
    redis = gateway.redis.connect(redis_url)
    yield Books(*engines, redis, "", "")
    redis.close()


def new(books: Books, topups: list[Topup], changes_on: int | None) -> Closing:
    org, key = books.new_org()
    made = Closing(Books(books.owner, books.billing, books.redis, org, key))
    made.billing("prepaid", at(1, 0))
    for topup in topups:
        made.lot(topup.won, topup.method, at(topup.day, 6))  # type: ignore[arg-type]
    if changes_on is not None:
        made.billing("postpaid", at(changes_on, 0))
    return made


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS, topups=TOPUPS, changes_on=CHANGE)
def test_any_month_adds_up_and_lateness_changes_nothing_in_the_end(
    books: Books, calls: list[Call], topups: list[Topup], changes_on: int | None
) -> None:
    on_time, late = (new(books, topups, changes_on) for _ in range(2))
    for call in calls:
        on_time.use(at(call.day), call.won)
    for call in sorted(calls, key=lambda call: call.late):
        if call.late and not _is_final(late) and any(not other.late for other in calls):
            late.close()
        late.use(at(call.day), call.won)
    final = on_time.close()
    amended = late.amend() if _is_final(late) and any(call.late for call in calls) else late.close()
    totals, funding = said(final).totals, said(final).funding
    gross = reduce(EXACT.add, (Decimal(call.won) for call in calls))
    assert funding.total == gross
    assert totals.whole.supply == won_floor(EXACT.subtract(gross, funding.promotion))
    assert totals.whole.vat == vat_on(totals.whole.supply)
    assert sum(line.amount.total for line in totals.lines) + totals.promotion.total == totals.whole.total
    assert content.write(content.read(final.content)) == final.content
    with on_time.connection() as connection:
        assert close.draft(connection, on_time.org, MONTH, DRAFTER) == final
    assert on_time.balances() == late.balances()
    assert on_time.left() == late.left()
    assert [line.amount for line in totals.lines] == [line.amount for line in said(amended).totals.lines]
    assert on_time.violations() == {}


def _is_final(closing: Closing) -> bool:
    with closing.books.billing.connect() as connection:
        known = close.stored(connection, closing.org, MONTH)
    return bool(known) and known[-1].final
