"""The month close on real books: states, people, numbers, lots, amendments, and what the ledger says afterwards."""

from __future__ import annotations

import datetime as dt
import threading
from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from billing.invoices import close, collecting, lapse
from billing.invoices.close import CloseError
from billing.invoices.payments import book_payment, mark_overdue
from billing.lock import SettlerLock
from gateway.finance import holidays, rates
from gateway.invoices import content, parties
from gateway.invoices.totals import Amount
from gateway.wire import keys
from tests.billing.books import Books
from tests.billing.events import job_id
from tests.billing.invoices.closing import DRAFTER, FINALISER, MONTH, Closing, at, said

NEXT = "202602"


@pytest.fixture
def closing(books: Books) -> Closing:
    """A postpaid organisation with everything that an invoice needs."""
    made = Closing(books)
    made.billing("postpaid", at(1, 0))
    return made


@pytest.mark.parametrize(("won", "vat"), [("123456", 12_345), ("10005", 1_000), ("99999.9999999999", 9_999)])
def test_the_months_exact_sum_is_floored_once_and_its_vat_once(closing: Closing, won: str, vat: int) -> None:
    closing.use(at(3), won)
    final = closing.close()
    supply = int(Decimal(won))
    whole = said(final).totals.whole
    assert (whole, final.state) == (Amount(supply, vat), "final")
    assert final.number and final.number.startswith(f"WR-{MONTH}-")
    fraction = Decimal(won) - supply
    balances = closing.balances()
    assert balances.pop("revenue") == -Decimal(won)
    assert balances == {"receivable": supply + vat}
    assert said(final).totals.rounding == fraction
    assert closing.violations() == {}


def test_closing_again_gives_the_same_bytes_and_books_nothing(closing: Closing) -> None:
    closing.use(at(3), "100.5", "0.25")
    first, before = closing.close(), closing.balances()
    again = closing.close() if (drafted := closing.draft()).state != "final" else drafted
    assert (again.content, again.digest, again.number) == (first.content, first.digest, first.number)
    assert closing.finalise() == first
    assert closing.balances() == before
    assert content.write(content.read(first.content)) == first.content


def test_a_draft_is_worked_out_anew_and_a_stale_one_is_not_finalised(closing: Closing) -> None:
    closing.use(at(3), "100")
    assert said(closing.draft()).totals.whole.supply == 100
    closing.use(at(4), "50")
    closing.review()
    with pytest.raises(CloseError, match="changed since the draft"):
        closing.finalise()
    assert said(closing.draft()).totals.whole.supply == 150
    with pytest.raises(CloseError, match="reviewed first"):
        closing.finalise()


def test_it_takes_two_people(closing: Closing) -> None:
    closing.use(at(3), "100")
    closing.draft()
    with closing.connection() as connection, pytest.raises(CloseError, match="second person"):
        close.review(connection, closing.org, MONTH, DRAFTER)
    closing.review()
    with closing.connection() as connection, pytest.raises(CloseError, match="second person"):
        close.finalise(connection, closing.org, MONTH, DRAFTER)
    alone = "UPDATE invoice SET finalised_by = drafted_by, finalised_at = now(), state = 'final' WHERE org = :org"
    with pytest.raises(DBAPIError, match="two_people"), closing.books.owner.begin() as connection:
        connection.execute(sa.text(alone), {"org": closing.org})


@pytest.mark.parametrize("role", ["owner", "billing"])
@pytest.mark.parametrize(
    "change", ["content = '{}'", "supply = 1", "number = 'X'", "state = 'draft', finalised_at = NULL", "due = 0"]
)
def test_a_final_invoice_cannot_be_changed(closing: Closing, role: str, change: str) -> None:
    closing.use(at(3), "100")
    closing.close()
    update = sa.text(f"UPDATE invoice SET {change} WHERE org = :org")
    with pytest.raises(DBAPIError, match=r"does not change|digest"), getattr(closing.books, role).begin() as connection:
        connection.execute(update, {"org": closing.org})


def test_without_a_valid_business_number_nothing_becomes_final(closing: Closing) -> None:
    with pytest.raises(ValueError, match="check digit"), closing.books.owner.begin() as connection:
        parties.set_profile(connection, closing.org, {"registration": "123-45-67890"}, "test")
    with closing.books.owner.begin() as connection:
        parties.set_profile(connection, closing.org, {"registration": ""}, "test")
    closing.use(at(3), "100")
    closing.draft()
    closing.review()
    with pytest.raises(CloseError, match="business number"):
        closing.finalise()


def test_a_month_of_less_than_a_won_gets_no_number(closing: Closing) -> None:
    closing.use(at(3), "0.75")
    final = closing.close()
    assert (final.state, final.number) == ("final", None)
    assert closing.balances() == {"revenue": Decimal("-0.75")}
    with closing.connection() as connection, pytest.raises(CloseError, match="came to nothing"):
        close.issue(connection, closing.org, MONTH, DRAFTER, dt.date(2026, 2, 3))
    assert closing.violations() == {}


def test_numbers_have_no_gaps_however_many_are_finalised_at_once(books: Books, closing: Closing) -> None:
    month = "202603"
    orgs = [closing]
    for _ in range(5):
        org, key = books.new_org("postpaid")
        orgs.append(Closing(Books(books.owner, books.billing, books.redis, org, key)))
    for each in orgs:
        each.use(at(3, month=month), "100")
        each.draft(month)
        each.review(month)
    with closing.connection() as connection:  # one that fails after it has taken its number
        close.finalise(connection, orgs[0].org, month, FINALISER)
        connection.rollback()
    numbers: list[str | None] = []
    threads = [threading.Thread(target=lambda one=one: numbers.append(one.finalise(month).number)) for one in orgs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, numbers)) == [f"WR-{month}-{n:04d}" for n in range(1, 7)]
    assert closing.violations() == {}


def test_a_call_of_the_last_second_that_ends_after_midnight_is_in_the_old_month_once(closing: Closing) -> None:
    last = at(31, 23).replace(minute=59, second=59)
    event = closing.event(last, "12.5")
    redis = closing.books.redis
    closing.use(at(30), "100")

    def check() -> None:
        with closing.books.billing.connect() as connection:
            collecting.check_month(redis, connection, MONTH)

    redis.zadd(keys.LEASES, {event.job: 9e12})  # it runs on while the close begins
    redis.hset(keys.JOB_PREFIX + event.job, mapping={"org": event.org, "key": event.key, "hold": 0, "we": "old"})
    with pytest.raises(collecting.NotCollectedError, match="running"):
        check()
    redis.zrem(keys.LEASES, event.job)
    redis.delete(keys.JOB_PREFIX + event.job)
    for _ in range(2):
        closing.books.append(event, hold=False)
    with pytest.raises(collecting.NotCollectedError, match="settlement"):
        check()
    closing.books.settle()
    check()
    totals = said(closing.close()).totals
    assert (totals.exact, sum(line.usage.calls for line in totals.lines)) == (Decimal("112.5"), 2)
    with pytest.raises(CloseError, match=r"no draft|nothing"):
        closing.review(NEXT)
    assert closing.violations() == {}


def test_a_month_is_collecting_until_it_is_over_and_its_dead_letters_are_dealt_with(closing: Closing) -> None:
    redis = closing.books.redis
    now = dt.datetime.fromtimestamp(collecting.now_ms(redis) / 1000, dt.UTC).strftime("%Y%m")
    with closing.books.billing.connect() as connection:
        with pytest.raises(collecting.NotCollectedError, match="not over"):
            collecting.check_month(redis, connection, str(int(now) + 100))
        redis.xadd(keys.DEAD, {"job": job_id(int(at(5).timestamp() * 1000)), "why": "test"})
        with pytest.raises(collecting.NotCollectedError, match="dead"):
            collecting.check_month(redis, connection, MONTH)
        redis.delete(keys.DEAD, keys.EPOCH)
        with pytest.raises(collecting.NotCollectedError, match="rebuilt"):
            collecting.check_month(redis, connection, MONTH)


def test_prepaid_card_transfer_and_promotion_then_on_account_in_one_month(closing: Closing) -> None:
    closing.billing("prepaid", at(1, 1))
    promo = closing.lot(100, "promotion", at(2))
    transfer, card = closing.lot(1_000, "transfer", at(2, 13)), closing.lot(500, "card", at(4))
    closing.use(at(3), "150.25")  # promotion first, then the transfer
    closing.use(at(5), "1200.5")  # the oldest first: what is left of the transfer, then the card
    closing.billing("postpaid", at(10))
    closing.use(at(11), "300.125")
    final = closing.close()
    funding = said(final).funding
    assert (funding.promotion, funding.transfer, funding.card) == (100, 1_000, Decimal("250.75"))
    assert funding.credit == Decimal("300.125")
    assert said(final).lots == {promo: 100, transfer: 1_000, card: Decimal("250.75")}
    totals = said(final).totals
    assert totals.usage.supply == 1_650 and totals.promotion.supply == -100 and totals.whole.supply == 1_550
    assert totals.by_transfer.supply == 1_000 and totals.due.supply == 300
    assert closing.left() == [0, 0, Decimal("249.25")]
    balances = closing.balances()
    assert balances["wallet"] == Decimal("-249.25") and balances["receivable"] == totals.due.total
    assert balances["revenue"] == -totals.exact and "promo" not in balances and "unbilled" not in balances
    assert closing.violations() == {}


def test_what_prepaid_credit_did_not_cover_becomes_due_and_leaves_the_balance(closing: Closing) -> None:
    closing.billing("prepaid", at(1, 1))
    closing.lot(100, "transfer", at(2))
    closing.use(at(3), "112.5")
    final = closing.close()
    assert (said(final).overdrawn, said(final).totals.due.supply) == (Decimal("12.5"), 12)
    assert "wallet" not in closing.balances()
    assert closing.books.one("SELECT balance_micro FROM window_org WHERE org = :org", org=closing.org) == 0
    assert closing.violations() == {}


def test_turning_to_prepaid_gives_the_balance_back_what_was_used_on_account(closing: Closing) -> None:
    closing.use(at(3), "500")
    closing.billing("prepaid", at(10))
    closing.lot(100, "transfer", at(10))
    with closing.connection() as connection:
        assert lapse.give_back_on_account(connection) >= 1
    closing.use(at(9), "7")  # still on account: it was admitted before the change
    balance = "SELECT balance_micro FROM window_org WHERE org = :org"
    assert closing.books.one(balance, org=closing.org) == 93_000_000
    with closing.connection() as connection:
        lapse.give_back_on_account(connection)
    assert closing.books.one(balance, org=closing.org) == 100_000_000
    assert said(closing.close()).funding.credit == 507
    assert closing.violations() == {}


def test_a_lot_lapses_with_what_was_not_used_before_its_end(closing: Closing) -> None:
    closing.billing("prepaid", at(1, 1))
    closing.lot(100, "promotion", at(2), until=at(20))
    closing.lot(1_000, "transfer", at(2))
    closing.use(at(3), "30.5")
    closing.use(at(25), "50")
    with closing.connection() as connection, pytest.raises(ValueError, match="lapsed"):
        close.draft(connection, closing.org, MONTH, DRAFTER)
    lock = SettlerLock(closing.books.billing)
    for expected in (1, 0):
        with lock.turn(wait=True) as connection:
            assert connection is not None
            assert lapse.expire(closing.books.redis, connection) == expected
    lock.close()
    lapsed = "SELECT won FROM lot_expiry e JOIN lot l ON l.id = e.lot WHERE org = :org"
    assert closing.books.one(lapsed, org=closing.org) == Decimal("69.5")
    final = closing.close()
    assert (said(final).funding.promotion, said(final).funding.transfer) == (Decimal("30.5"), 50)
    assert closing.left() == [0, 950]
    assert closing.balances() == {"wallet": -950, "revenue": -50}
    assert closing.violations() == {}


def test_usage_that_comes_late_is_an_amendment_with_a_persons_reason(closing: Closing) -> None:
    closing.use(at(3), "100.5")
    first = closing.close()
    with closing.connection() as connection, pytest.raises(CloseError, match="nothing has changed"):
        close.amend(connection, closing.org, MONTH, DRAFTER, "02", "x")
    closing.use(at(31), "50.5")
    assert closing.violations() == {"late_usage": 1}
    with closing.connection() as connection, pytest.raises(CloseError, match="reason"):
        close.amend(connection, closing.org, MONTH, DRAFTER, "07", "x")  # type: ignore[arg-type]
    second = closing.amend()
    assert second.number == f"{first.number}-A1"
    document = content.invoice(said(second), "final")
    assert document.amendment is not None and str(document.amendment.of) == first.number
    assert said(second).totals.whole == Amount(151, 15)
    assert closing.balances() == {"receivable": 166, "revenue": -151}
    assert [row.state for row in _rows(closing)] == ["amended", "final"]
    assert closing.violations() == {}


def test_an_amendment_leaves_the_ledger_as_if_nothing_had_been_late(books: Books) -> None:
    halves: list[Closing] = []
    for late in (False, True):
        org, key = books.new_org()
        one = Closing(Books(books.owner, books.billing, books.redis, org, key))
        one.billing("prepaid", at(1, 0))
        one.lot(50, "promotion", at(1))
        one.lot(100, "transfer", at(2))
        one.use(at(3), "99.75")
        if late:
            one.close()
        one.use(at(4), "60.375")
        one.amend() if late else one.close()
        halves.append(one)
    on_time, amended = halves
    assert on_time.balances() == amended.balances()
    assert on_time.left() == amended.left()
    last = [_rows(one)[-1] for one in halves]
    assert said(last[0]).totals == said(last[1]).totals or [
        (line.amount, line.usage.exact) for line in said(last[0]).totals.lines
    ] == [(line.amount, line.usage.exact) for line in said(last[1]).totals.lines]
    assert books.redis is not None and on_time.violations() == {}


def test_months_are_closed_in_order(closing: Closing) -> None:
    closing.use(at(3), "10")
    closing.use(at(3, month=NEXT), "10")
    with pytest.raises(CloseError, match=f"closed for {MONTH} first"):
        closing.draft(NEXT)
    closing.close()
    assert closing.draft(NEXT).state == "draft"


def test_issued_paid_in_two_parts_and_overdue_after_a_holiday(closing: Closing) -> None:
    with closing.books.owner.begin() as connection:
        parties.set_profile(connection, closing.org, {"terms": "day:28"}, "test")
    closing.use(at(3), "1000")
    number = closing.close().number
    assert number is not None

    def pay(amount: int, reference: str) -> int:
        with closing.connection() as connection:
            return book_payment(connection, number, amount, dt.date(2026, 3, 2), reference, FINALISER).left

    with pytest.raises(CloseError, match="nothing is to be paid"):
        pay(1, "early")
    with closing.connection() as connection:
        close.issue(connection, closing.org, MONTH, FINALISER, dt.date(2026, 2, 5))
    due = "SELECT due_on FROM invoice WHERE org = :org"
    # Saturday the 28th; the 2nd stands in for the Independence Movement Day on Sunday the 1st
    assert closing.books.one(due, org=closing.org) == dt.date(2026, 3, 3)
    with closing.connection() as connection:
        assert number not in mark_overdue(connection, dt.date(2026, 3, 3))
        assert number in mark_overdue(connection, dt.date(2026, 3, 4))
    assert pay(600, "a") == pay(600, "a") == 500
    with pytest.raises(CloseError, match="500 won are left"):
        pay(501, "b")
    assert pay(500, "b") == 0
    assert [row.state for row in _rows(closing)] == ["paid"]
    assert closing.balances() == {"revenue": -1000}
    assert closing.violations() == {}


def test_money_that_is_given_back_is_owed_again(closing: Closing) -> None:
    closing.use(at(3), "1000")
    number = str(closing.close().number)

    def book(amount: int, reference: str) -> tuple[int, str, bool]:
        with closing.connection() as connection:
            done = book_payment(connection, number, amount, dt.date(2026, 2, 9), reference, FINALISER)
        return done.left, done.state, done.new

    with pytest.raises(CloseError, match="given back"):
        book(-1, "before it was issued")
    with closing.connection() as connection:
        close.issue(connection, closing.org, MONTH, FINALISER, dt.date(2026, 2, 5))
    assert book(1_100, "a") == (0, "paid", True)
    with pytest.raises(CloseError, match="1100 won were received"):
        book(-1_101, "more than came")
    assert book(-100, "a was 1,000") == (100, "issued", True)
    assert book(-100, "a was 1,000") == (100, "issued", False)
    assert closing.balances() == {"revenue": -1000, "receivable": 100}
    assert book(100, "b") == (0, "paid", True)
    assert closing.violations() == {}


def test_a_holiday_declared_at_short_notice_moves_the_due_date_and_the_age_of_rates(closing: Closing) -> None:
    monday, tuesday = dt.date(2026, 2, 9), dt.date(2026, 2, 10)
    with closing.books.owner.begin() as connection:
        parties.set_profile(connection, closing.org, {"terms": "day:9"}, "test")
        for day, why in ((dt.date(2026, 2, 8), "no business day"), (monday, "has a name")):
            with pytest.raises(ValueError, match=why):
                holidays.enter(connection, day, "" if day == monday else "x", "test")
        assert holidays.enter(connection, monday, "임시공휴일", "test")
        assert not holidays.enter(connection, monday, "임시공휴일", "test")
        connection.execute(
            sa.text("INSERT INTO exchange_rate (id, date, rate, source, effective_from) "
                    "VALUES ('manual@2026-02-06', '2026-02-06', 1400, 'manual', now())")
        )  # fmt: skip
        assert rates.staleness(connection, tuesday).business_days == 1
    closing.use(at(3), "1000")
    closing.close()
    with closing.connection() as connection:
        close.issue(connection, closing.org, MONTH, FINALISER, dt.date(2026, 2, 5))
    assert closing.books.one("SELECT due_on FROM invoice WHERE org = :org", org=closing.org) == tuesday


def test_a_receipt_is_paid_when_it_is_issued(closing: Closing) -> None:
    closing.billing("prepaid", at(1, 1))
    closing.lot(1_000, "transfer", at(2))
    closing.use(at(3), "100")
    closing.close()
    with closing.connection() as connection:
        issued = close.issue(connection, closing.org, MONTH, FINALISER, dt.date(2026, 2, 5))
    assert issued.state == "paid"
    with closing.connection() as connection, pytest.raises(CloseError, match="8 digits"):
        close.approve(connection, str(issued.number), "2026", FINALISER)
    with closing.connection() as connection:
        close.approve(connection, str(issued.number), "202602044100020300000a5d", FINALISER)
    assert (
        closing.books.one("SELECT approval FROM invoice WHERE org = :org", org=closing.org)
        == "202602044100020300000a5d"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM invoice", "TRUNCATE invoice CASCADE", "UPDATE payment SET amount = 1", "DELETE FROM payment",
        "UPDATE lot_use SET won = 0", "DELETE FROM lot_expiry", "UPDATE window_correction SET micro = 0",
        "DELETE FROM invoice_counter", "UPDATE billing_profile SET legal_name = 'x'", "DELETE FROM usage_day",
        "INSERT INTO billing_change VALUES (uuidv7(), now(), 'prepaid')", "UPDATE month_collected SET at = now()",
        "DELETE FROM discarded_usage", "DELETE FROM provider_statement",
    ],
)  # fmt: skip
def test_the_billing_role_changes_nothing_that_was_booked(books: Books, statement: str) -> None:
    with books.billing.connect() as connection, pytest.raises(DBAPIError, match=r"permission denied|append-only"):
        connection.execute(sa.text(statement))


@pytest.mark.parametrize("table", ["invoice", "payment", "lot_use", "invoice_counter", "usage_hour", "usage_day"])
def test_other_roles_close_nothing(books: Books, table: str) -> None:
    may = "SELECT has_table_privilege(CAST(:role AS text), CAST(:table AS text), 'INSERT, UPDATE, DELETE, TRUNCATE')"
    for role in ("wonrouter_api", "wonrouter_worker"):
        assert books.one(may, role=role, table=table) is False


def _rows(closing: Closing) -> list[close.Stored]:
    with closing.books.billing.connect() as connection:
        return close.stored(connection, closing.org, MONTH)
