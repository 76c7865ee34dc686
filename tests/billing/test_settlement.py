"""From the stream to the books: exactly once, whatever comes twice, late, broken or at the wrong moment."""

from __future__ import annotations

import random
import threading
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisAway

from billing.lock import SettlerLock
from billing.reconcile import reconcile
from billing.settlement import settle
from gateway.money import exact
from gateway.wire import keys
from gateway.wire.event import Part, Tokens, UsageEvent, encode_attempts
from tests.billing.books import Books
from tests.billing.events import attempt, job_id, part


def charges(books: Books) -> tuple[Decimal, Decimal, int, int]:
    """Wallet, revenue, settled window and rows of the organisation."""
    return (
        books.balance("wallet"),
        books.balance("revenue"),
        books.one("SELECT coalesce(sum(balance_micro), 0) FROM window_org WHERE org = :org", org=books.org),
        books.one("SELECT count(*) FROM usage WHERE org = :org", org=books.org),
    )


def outbox(books: Books) -> list[tuple[int, int, str, int]]:
    rows = books.rows("SELECT * FROM outbox WHERE org = :org ORDER BY seq", org=books.org)
    return [(row.balance_micro, row.key_spent_micro, row.month, row.month_spent_micro) for row in rows]


@pytest.mark.parametrize(
    ("charged", "won", "micro"),
    [
        (part(1234, 567, "0.075", "0.30", "1400.60"), "0.3678675900000000", 367868),
        (part(1000, 500, "2.50", "10.00", "1350"), "10.1250000000000000", 10125000),
        (part(1, 0, "0.000001", "1", "0.0001"), "0.0000000000000001", 1),
    ],
)
def test_a_charge_is_booked_to_its_last_digit(books: Books, charged: Part, won: str, micro: int) -> None:
    event = books.event(parts=[charged])
    books.append(event)
    assert books.settle() == 1
    [row] = books.rows("SELECT won, micro, month FROM usage WHERE job = :job", job=event.job)
    assert (row.won, row.micro) == (Decimal(won), micro)
    assert charges(books) == (Decimal(won), -Decimal(won), -micro, 1)
    assert books.one("SELECT spent_micro FROM window_key WHERE key = :key", key=books.key) == micro
    assert books.one("SELECT spent_micro FROM window_month WHERE org = :org", org=books.org) == micro
    assert books.redis.xlen(keys.USAGE) == 0


def test_a_postpaid_charge_is_owed_instead_of_taken_from_the_wallet(books: Books) -> None:
    books.org, books.key = books.new_org("postpaid")
    books.append(books.event())
    books.settle()
    assert (books.balance("unbilled"), books.balance("wallet")) == (Decimal("10.125"), 0)


def test_what_passes_a_strict_hold_is_our_loss(books: Books) -> None:
    books.append(books.event(loss_won="0.5"))
    books.settle()
    assert books.balance("wallet") == Decimal("10.125")
    assert books.balance("loss_unbilled") == Decimal("0.5")
    assert books.balance("revenue") == Decimal("-10.625")


@pytest.mark.parametrize("times", [2, 10])
def test_an_event_delivered_again_is_booked_once(books: Books, times: int) -> None:
    event = books.event()
    for _ in range(times):
        books.append(event)
        books.settle(most=1)
    for _ in range(times):
        books.append(event)
    books.settle()
    assert charges(books) == (Decimal("10.125"), Decimal("-10.125"), -10_125_000, 1)
    assert books.redis.xlen(keys.USAGE) == 0


def test_killed_between_commit_and_deletion_nothing_is_booked_twice(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.append(books.event(), hold=False)
    execute = books.redis.execute_command

    def away(*args: object) -> object:
        if args[0] == "XDEL":
            raise RedisAway("killed")
        return execute(*args)

    with monkeypatch.context() as patched:
        patched.setattr(books.redis, "execute_command", away)
        with pytest.raises(RedisAway):
            books.settle()
    assert charges(books)[3] == 1 and books.redis.xlen(keys.USAGE) == 1
    books.settle()
    assert charges(books) == (Decimal("10.125"), Decimal("-10.125"), -10_125_000, 1)
    assert len(outbox(books)) == 1
    assert books.redis.xlen(keys.USAGE) == 0


def test_the_month_is_that_of_the_admission_in_seoul_however_late_and_in_whatever_order(books: Books) -> None:
    moments = {  # 2026-11-30T14:59:59.999Z, one millisecond later, and a month long ago that has no partition
        1_796_050_799_999: "202611",
        1_796_050_800_000: "202612",
        1_700_000_000_000: "202311",
    }
    events = [books.event(job=job_id(at)) for at in moments]
    random.Random(7).shuffle(events)  # the order must not matter; the seed only makes a failure repeatable
    for event in events:
        books.append(event)
    books.settle()
    found = books.rows("SELECT job, month FROM usage WHERE org = :org", org=books.org)
    assert {int(row.job.hex[:12], 16): row.month for row in found} == moments
    assert (
        books.one("SELECT count(*) FROM ledger_transaction WHERE org = :org AND month = '202311'", org=books.org) == 1
    )


def test_poison_in_a_batch_of_a_thousand_stops_nobody_else(books: Books) -> None:
    stranger = "7d1f0b2e-4a53-4c3f-9a55-0d2f6c1b9e11"
    for number in range(1000):
        match number:
            case 100:
                books.append(books.event(), ev=b"\xc1 not msgpack")
            case 300:
                books.append(books.event(won="10.126"))
            case 400:
                books.append(books.event(micro=1))
            case 500:
                books.append(books.event(title="a\x00b"))
            case 700:
                books.append(books.event(org=stranger))
            case 900:
                books.append(books.event(tokens=Tokens(prompt=2**63)))
            case _:
                books.append(books.event(parts=[part(10, 10)]))
    books.settle()
    assert books.redis.xlen(keys.USAGE) == 0
    assert books.one("SELECT count(*) FROM usage WHERE org = :org", org=books.org) == 994
    dead = [fields for _, fields in books.redis.xrange(keys.DEAD)]
    reasons = [fields[b"why"].decode() for fields in dead]
    assert len(dead) == 6 and all(fields[b"ev"] for fields in dead)
    for wanted in ("undecodable", "10.126", "the window was charged", "no such organisation", "NUL"):
        assert any(wanted in reason for reason in reasons), (wanted, reasons)


def test_a_late_end_charges_the_window_through_the_outbox_once(books: Books) -> None:
    job = job_id(1_796_050_800_000)
    books.append(books.event(job=job), hold=False)
    books.append(books.event(job=job), hold=False)
    books.append(books.event())
    books.settle()
    assert outbox(books) == [(-10_125_000, 10_125_000, "202612", 10_125_000)]


def test_an_expired_job_is_charged_for_its_checkpoint_and_says_so(books: Books) -> None:
    event = books.event(outcome="complete", attempts=[attempt(1)])
    books.append(event, out="expired", att=encode_attempts([attempt(1), attempt(1, epoch=2, upstream_id=None)]))
    books.settle()
    [row] = books.rows("SELECT outcome, estimated, won, attempts FROM usage WHERE job = :job", job=event.job)
    assert (row.outcome, row.estimated, row.won) == ("expired", True, Decimal("10.125"))
    assert [(a["client_request_id"], a.get("billed", False)) for a in row.attempts] == [("c1-1", True), ("c2-1", False)]


def test_a_voided_job_has_a_row_and_a_transaction_and_costs_nothing(books: Books) -> None:
    base = UsageEvent("", books.org, books.key, "gpt-4o", "bizrouter", "chat", stream=False)
    job = job_id()
    books.append(base, out="voided", job=job, att=encode_attempts([attempt()]))
    books.settle()
    [row] = books.rows("SELECT outcome, won, micro, attempts FROM usage WHERE job = :job", job=job)
    assert (row.outcome, row.won, row.micro) == ("voided", 0, 0)
    assert row.attempts[0].get("billed", False) is False
    assert books.one("SELECT count(*) FROM ledger_transaction WHERE id = :job", job=job) == 1
    assert books.one("SELECT count(*) FROM entry WHERE txn = :job", job=job) == 0


def test_a_claim_whose_worker_died_before_it_wrote_anything_down_is_listed_by_its_request_id(books: Books) -> None:
    base = UsageEvent("", books.org, books.key, "gpt-4o", "bizrouter", "chat", stream=False)
    job = job_id()
    books.append(base, out="voided", job=job, ep=2, att=encode_attempts([attempt(1, epoch=2)]))
    books.settle()
    attempts = books.one("SELECT attempts FROM usage WHERE job = :job", job=job)
    assert [a["client_request_id"] for a in attempts] == [f"{job}.1.1", "c2-1"]
    assert not any(a.get("billed", False) for a in attempts)


def test_two_settlers_at_once_book_everything_once(books: Books) -> None:
    events = [books.event(parts=[part(n, 1)]) for n in range(1, 401)]
    for event in events:
        books.append(event)

    def work() -> None:
        lock = SettlerLock(books.billing)
        while books.redis.xlen(keys.USAGE):
            with lock.turn() as connection:
                if connection is not None:
                    settle(books.redis, connection, 37)
        lock.close()

    settlers = [threading.Thread(target=work) for _ in range(3)]
    for settler in settlers:
        settler.start()
    for settler in settlers:
        settler.join()
    due = sum((exact(event.won) for event in events), Decimal(0))
    assert charges(books) == (due, -due, -sum(event.micro for event in events), 400)


def test_without_the_lock_a_second_settler_does_no_harm(books: Books) -> None:
    """What a settler whose connection was cut could do at most: write the same batch at the same time."""
    for n in range(1, 101):
        books.append(books.event(parts=[part(n, 1)]), hold=False)
    barrier = threading.Barrier(2)
    failures: list[BaseException] = []

    def work() -> None:
        with books.billing.connect() as connection:
            barrier.wait()
            try:
                settle(books.redis, connection, 1000)
            except BaseException as failure:  # noqa: BLE001 - the test looks at it
                failures.append(failure)

    settlers = [threading.Thread(target=work) for _ in range(2)]
    for settler in settlers:
        settler.start()
    for settler in settlers:
        settler.join()
    books.settle()
    assert failures == []
    wallet, revenue, window, rows = charges(books)
    assert (wallet + revenue, rows) == (0, 100)
    assert sum(row[0] for row in outbox(books)) == window


parts = st.builds(
    part,
    prompt=st.integers(0, 2_000_000),
    completion=st.integers(0, 100_000),
    input_usd=st.decimals("0.000001", "600", places=6).map(str),
    output_usd=st.decimals("0.000001", "600", places=6).map(str),
    rate=st.decimals("0.0001", "99999999", places=4).map(str),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(parts, min_size=1, max_size=3), min_size=1, max_size=6), st.booleans())
def test_any_charges_are_booked_exactly(books: Books, calls: list[list[Part]], hold: bool) -> None:
    before = charges(books)
    events = [books.event(parts=call) for call in calls]
    for event in events:
        books.append(event, hold=hold)
    books.settle()
    due = sum((exact(event.won) for event in events), Decimal(0))
    after = charges(books)
    assert after[0] - before[0] == due == before[1] - after[1]
    assert before[2] - after[2] == sum(event.micro for event in events)
    assert books.redis.xlen(keys.DEAD) == 0
    found = reconcile(books.billing, books.redis)
    assert {name: count for name, count in found.items() if name != "window"} == dict.fromkeys(
        found.keys() - {"window"}, 0
    )
