"""What the front end asks of billing is done once, as the person who asked, and people are told how it went."""

from __future__ import annotations

import datetime as dt
import hashlib
import threading

import pytest
from sqlalchemy import text

from billing.tasks import claims, entering
from billing.tasks.kinds import IN_ONE, LONG, REPEATABLE, SHORT
from billing.tasks.runner import Runner
from gateway import task_kinds, tasks
from gateway.db.tables.close import payment
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.wire import keys
from tests.billing.invoices.closing import MONTH, at
from tests.billing.tasks.conftest import Counter
from tests.operating import until

BUSINESS_DAY = "2026-01-05"


def test_every_kind_has_parameters_and_somebody_who_does_it() -> None:
    assert set(task_kinds.RULES) == set(task_kinds.KINDS) == {*IN_ONE, *REPEATABLE} == {*LONG, *SHORT}
    assert not set(IN_ONE) & set(REPEATABLE)


def test_a_month_is_closed_by_two_people_paid_and_exported(counter: Counter) -> None:
    counter.closing.billing("postpaid", at(1, 0))
    counter.closing.use(at(3), "100000.5")
    one, two = counter.person(operator=True), counter.person(operator=True)
    drafted = counter.do(one, "close.draft", {"month": MONTH}, counter.books.org)
    assert (drafted.state, drafted.error) == ("done", None)
    assert drafted.result is not None
    assert drafted.result["documents"][0]["state"] == "draft"
    same = counter.do(one, "close.review", {"month": MONTH}, counter.books.org)
    assert (same.state, same.error_code) == ("failed", "refused")
    assert "second person" in (same.error or "")
    for step in ("close.review", "close.finalise", "close.issue"):
        done = counter.do(two, step, {"month": MONTH}, counter.books.org)
        assert done.state == "done", done.error
    number = counter.books.one("SELECT number FROM invoice WHERE org = :org", org=counter.books.org)
    paid = {"number": number, "amount": 110_000, "paid_on": BUSINESS_DAY, "reference": "은행 1"}
    assert counter.do(one, "payment.book", paid).result == {
        "number": number, "amount": 110_000, "left": 0, "state": "paid", "new": True,
    }  # fmt: skip
    made = counter.do(one, "export.invoice", {"month": MONTH}, counter.books.org)
    content = counter.file(made)
    assert content.startswith(b"%PDF")
    assert (made.size, made.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (made.media_type, made.file_name) == (
        "application/pdf", f"invoice-{MONTH}-{counter.books.org[:8]}.pdf",
    )  # fmt: skip
    assert counter.books.one(
        "SELECT actor FROM audit_log WHERE action = 'export.invoice' AND org = :org", org=counter.books.org
    ) == one  # fmt: skip


@pytest.mark.parametrize("kind", ["export.settlement", "export.usage", "export.journal"])
def test_finance_gets_what_its_role_allows_of_its_own_organisation(counter: Counter, kind: str) -> None:
    counter.closing.use(at(3), "10")
    asked = counter.do(counter.person("finance"), kind, {"month": MONTH, "format": "csv"}, counter.books.org)
    if kind == "export.journal":
        assert (asked.state, asked.error_code) == ("failed", "permission_denied")
    else:
        assert asked.state == "done", asked.error
        assert counter.file(asked).startswith(b"\xef\xbb\xbf")
        assert (asked.progress, asked.total) == (1, 1)  # rows of usage, organisations of a settlement


def test_rights_are_those_of_the_moment_in_which_it_is_done(counter: Counter) -> None:
    person = counter.person("finance")
    asked = counter.ask(person, "export.usage", {"month": MONTH, "format": "csv"}, counter.books.org)
    with counter.books.owner.begin() as connection:
        connection.execute(text("UPDATE membership SET state = 'left' WHERE person = :p"), {"p": person})
    counter.lane().once()
    assert counter.show(asked).error_code == "permission_denied"


def test_wrong_parameters_are_refused_when_it_is_asked_for(counter: Counter) -> None:
    person = counter.person(operator=True)
    for kind, given, error in (
        ("close.draft", {"month": "2026-13"}, InvalidRequest),
        ("close.draft", {"month": MONTH, "more": 1}, InvalidRequest),
        ("close.everything", {}, NotFound),
        ("fx.import", {}, InvalidRequest),
        ("close.amend", {"month": MONTH, "code": "02", "reason": "r"}, InvalidRequest),
    ):
        with pytest.raises(error):
            counter.ask(person, kind, given)


def test_an_upload_reaches_the_work_in_pieces_and_is_deleted_afterwards(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "PIECE", 10)
    done = counter.do(
        counter.person(operator=True), "fx.import", {"insist": True}, upload=b"date,rate\n2026-01-05,1400.60\n"
    )
    assert done.state == "done", done.error
    assert done.result is not None
    assert done.result["rates"][0]["rate"] == "1400.6"
    pieces = "SELECT count(*) FROM task_upload WHERE task = :id"
    assert counter.books.one(pieces, id=done.id) == 3
    with counter.books.billing.begin() as connection:
        claims.tidy(connection)
    assert counter.books.one(pieces, id=done.id) == 0


def test_a_file_is_kept_in_pieces_until_its_time_is_over(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    counter.closing.use(at(3), "10")
    monkeypatch.setattr(tasks, "PIECE", 1000)
    made = counter.do(counter.person(operator=True), "export.usage", {"month": MONTH, "format": "csv"})
    assert len(counter.file(made)) == made.size
    assert counter.books.one("SELECT count(*) > 1 FROM task_part WHERE task = :id", id=made.id)
    with counter.books.billing.begin() as connection:
        assert claims.tidy(connection) == 0
        connection.execute(text("UPDATE task SET expires_at = now() - interval '1 s' WHERE id = :id"), {"id": made.id})
        assert claims.tidy(connection) == 1
    assert counter.file(made) == b""
    assert counter.show(made).sha256 == made.sha256


def test_a_waiting_task_can_be_taken_back_and_a_finished_one_not(counter: Counter) -> None:
    person = counter.person("owner")
    asked = counter.ask(person, "export.usage", {"month": MONTH}, counter.books.org)
    other, _ = counter.books.new_org()
    with pytest.raises(NotFound):
        counter.change(lambda change: tasks.cancel(change, asked.id, other))
    assert counter.change(lambda change: tasks.cancel(change, asked.id)).error_code == "cancelled"
    assert not counter.lane().once()
    with pytest.raises(Conflict):
        counter.change(lambda change: tasks.cancel(change, asked.id))


def test_nobody_can_fill_the_queue(counter: Counter) -> None:
    person = counter.person("owner")
    for _ in range(tasks.MOST_OPEN):
        counter.ask(person, "export.usage", {"month": MONTH}, counter.books.org)
    with pytest.raises(Conflict):
        counter.ask(person, "export.usage", {"month": MONTH}, counter.books.org)


def test_a_task_whose_process_died_is_taken_up_again_and_the_dead_one_cannot_end_it(counter: Counter) -> None:
    counter.closing.billing("postpaid", at(1, 0))
    counter.closing.use(at(3), "100000")
    one, two = counter.person(operator=True), counter.person(operator=True)
    counter.do(one, "close.draft", {"month": MONTH}, counter.books.org)
    for step in ("close.review", "close.finalise", "close.issue"):
        counter.do(two, step, {"month": MONTH}, counter.books.org)
    number = counter.books.one("SELECT number FROM invoice WHERE org = :org", org=counter.books.org)
    paid = {"number": number, "amount": 1_000, "paid_on": BUSINESS_DAY, "reference": "r"}
    asked = counter.ask(one, "payment.book", paid)
    with counter.books.billing.begin() as connection:
        dead = claims.claim(connection, ["payment.book"], lease_s=-1)
    assert dead is not None
    assert counter.show(asked).state == "running"
    assert counter.lane().once()
    invoice = counter.books.one("SELECT id FROM invoice WHERE number = :n", n=number)
    late = {"invoice": invoice, "amount": 1, "paid_on": dt.date(2026, 1, 5), "reference": "late", "booked_by": one}
    with counter.books.billing.connect() as connection, connection.begin() as half_done:
        connection.execute(payment.insert().values(late))
        with pytest.raises(claims.LostClaimError):
            claims.finish(connection, dead, claims.Outcome())
        half_done.rollback()
    assert counter.show(asked).state == "done"
    assert counter.books.one("SELECT sum(amount) FROM payment p JOIN invoice i ON i.id = p.invoice "
                             "WHERE i.number = :n", n=number) == 1_000  # fmt: skip


def test_a_task_that_takes_its_process_down_is_given_up(counter: Counter) -> None:
    asked = counter.ask(counter.person(operator=True), "reconcile")
    for _ in range(claims.TRIES):
        with counter.books.billing.begin() as connection:
            assert claims.claim(connection, ["reconcile"], lease_s=-1) is not None
    assert not counter.lane().once()
    assert counter.show(asked).error_code == "internal_error"


def test_a_fault_of_ours_says_no_internals(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> claims.Outcome:
        raise KeyError("password=secret")

    monkeypatch.setitem(REPEATABLE, "reconcile", broken)
    failed = counter.do(counter.person(operator=True), "reconcile")
    assert (failed.state, failed.error_code) == ("failed", "internal_error")
    assert "secret" not in (failed.error or "")


def test_a_lane_keeps_its_lease_while_it_works(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(job: object) -> claims.Outcome:
        began.set()
        assert go_on.wait(60)
        return entering.check_books(job)  # type: ignore[arg-type]

    monkeypatch.setitem(REPEATABLE, "reconcile", slow)
    asked = counter.ask(counter.person(operator=True), "reconcile")
    working = threading.Thread(target=counter.lane(lease_s=0.4).once)
    working.start()
    assert began.wait(60)
    leased = "SELECT leased_until FROM task WHERE id = :id"
    first = counter.books.one(leased, id=asked.id)
    assert until(lambda: counter.books.one(leased, id=asked.id) > first, "the lease is renewed by itself", 50)
    go_on.set()
    working.join(60)
    done = counter.show(asked)
    assert done.state == "done"
    assert done.result is not None
    assert "debits_credits" in done.result["found"]
    assert counter.books.one("SELECT count(*) FROM invariant_run WHERE found ? 'debits_credits'") >= 1


def test_news_wakes_a_runner_that_does_not_look_by_itself(
    counter: Counter, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gateway.redis
    from billing.tasks import runner

    monkeypatch.setattr(runner, "POLL_S", None)
    started = Runner(counter.books.billing, counter.books.redis, gateway.redis.connect(redis_url, reply_timeout_s=60))
    started.start()
    assert until(lambda: counter.books.redis.pubsub_numsub(keys.NEWS)[0][1], "it listens", 60)
    assert until(lambda: not any(lane._woken.is_set() for lane in started._lanes), "the lanes look, and rest", 60)
    asked = counter.ask(counter.person(operator=True), "reconcile")
    assert until(lambda: counter.show(asked).finished, "it is done", 60)
    started.stop(60)
    counter.books.redis.publish(keys.NEWS, b"")  # its ear waits without a limit here
    started._ear.join(60)
    assert counter.show(asked).state == "done"
