"""The window and the books are one: through outbox, late charges, rebuilds and surviving holds, to the micro-won."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import upkeep, window
from billing.lock import SettlerLock
from billing.reconcile import reconcile, window_violations
from gateway.accounts import outbox
from gateway.credit import admission, running
from gateway.credit import upkeep as credit
from gateway.credit.admission import Placed, Refused
from gateway.invoices import parties
from gateway.settings import Settings
from gateway.wire import ids, keys
from gateway.wire.event import UsageEvent, encode_event
from tests.billing.books import Books
from tests.billing.events import part
from tests.gateway.credit.blocking import Blocking, done
from tests.gateway.credit.scene import placement

SETTINGS = Settings(
    database_url="postgresql://unused",
    redis_url="redis://unused",
    secret=base64.b64encode(bytes(32)).decode(),  # pyright: ignore[reportArgumentType]
)


@dataclasses.dataclass
class Calls:
    """Calls of the organisation as api and workers make them, on the real scripts, and turns of the billing loop."""

    books: Books

    def turn(self) -> None:
        lock = SettlerLock(self.books.billing)
        with lock.turn(wait=True) as connection:
            assert connection is not None
            upkeep.turn(self.books.redis, connection, SETTINGS)
        lock.close()

    def place(self, org: str | None = None, key: str | None = None) -> Placed:
        org, key = org or self.books.org, key or self.books.key
        epoch = self.books.redis.get(keys.EPOCH).decode()
        base = UsageEvent("", org, key, "gpt-4o", "bizrouter", "chat", stream=False)

        def asked(at_ms: int) -> Placed | Refused:
            begins, ends = ids.month_bounds_ms(at_ms)
            call = placement(
                window_epoch=epoch, org=org, key=key, input_micro=5_000_000, unit_micro=13_500, cap=1_000,
                digits=ids.random_parts(), base_event=encode_event(base), month=ids.month_of(at_ms),
                valid_from_ms=begins, valid_until_ms=ends,
            )  # fmt: skip
            return done(admission.place(Blocking(self.books.redis), call))

        seconds, _ = self.books.redis.time()
        answer = asked(seconds * 1000)
        if isinstance(answer, Refused) and answer.reason == "terms":
            answer = asked(answer.now_ms)  # a month has ended meanwhile
        assert isinstance(answer, Placed), answer
        return answer

    def claim(self, job: str) -> int:
        answer = done(running.claim(Blocking(self.books.redis), job, "w1", 60_000))
        assert isinstance(answer, running.Claim), answer
        return answer.epoch

    def finish(self, job: str, epoch: int, tokens: int = 500) -> str:
        event = self.books.event(job=job, parts=[part(1000, tokens)])
        ending = running.Ending(
            job, epoch, event.org, event.key, "posted", event.micro, encode_event(event), "wr:reply:a", b"", b"", 60
        )
        return done(running.finish(Blocking(self.books.redis), ending))[0]

    def call(self, tokens: int = 500) -> str:
        """A whole call."""
        job = self.place().job
        assert self.finish(job, self.claim(job), tokens) == "ok"
        return job

    def checkpoint(self, job: str, epoch: int) -> None:
        event = self.books.event(job=job, parts=[part(1000, 100)])
        beat = running.Heartbeat(job, epoch, encode_event(event), event.micro)
        assert done(running.renew(Blocking(self.books.redis), [beat], 60_000)) == [running.RENEWED]

    def lapse(self, job: str) -> None:
        self.books.redis.zadd(keys.LEASES, {job: 1})

    def violations(self) -> list[str]:
        with self.books.owner.begin() as connection:
            return window_violations(self.books.redis, connection)

    def all_is_well(self) -> bool:
        assert self.violations() == []
        assert set(reconcile(self.books.billing, self.books.redis).values()) == {0}
        return True


@pytest.fixture
def calls(books: Books) -> Calls:
    """An organisation with 50,000 won that the window knows."""
    books.request_topup(50_000, "R1")
    made = Calls(books)
    made.turn()
    return made


def epoch(books: Books) -> int:
    return int(books.redis.get(keys.EPOCH))


def test_a_topup_can_be_spent_after_one_turn_and_is_booked_once(calls: Calls) -> None:
    calls.turn()
    reading = credit.read(calls.books.redis, calls.books.org)
    assert reading is not None and reading.balance_micro == 50_000_000_000
    assert calls.books.balance("wallet") == -50_000
    assert calls.books.one("SELECT state FROM topup_request WHERE org = :org", org=calls.books.org) == "booked"
    assert calls.all_is_well()


def test_the_vat_of_a_topup_is_rounded_as_its_customer_has_it(calls: Calls) -> None:
    with calls.books.owner.begin() as connection:
        parties.set_profile(connection, calls.books.org, {"legal_name": "한빛", "vat_rounding": "half_up"}, "test")
    calls.books.request_topup(10_005, "half up")
    calls.turn()
    assert calls.books.one("SELECT vat FROM lot WHERE org = :org AND amount = 10005", org=calls.books.org) == 1_001


def test_a_topup_beyond_what_the_window_counts_exactly_is_refused(calls: Calls) -> None:
    made = calls.books.request_topup(9_000_000_000, "R2")
    calls.turn()
    [row] = calls.books.rows("SELECT state, note FROM topup_request WHERE id = :id", id=made)
    assert row.state == "refused" and "exactly" in row.note
    assert calls.all_is_well()


def test_an_empty_redis_is_rebuilt_from_the_books(calls: Calls) -> None:
    calls.call()
    calls.turn()
    before, reading = epoch(calls.books), credit.read(calls.books.redis, calls.books.org)
    calls.books.redis.flushall()
    calls.turn()
    assert epoch(calls.books) == before + 1
    assert credit.read(calls.books.redis, calls.books.org) == reading
    assert calls.all_is_well()


def test_a_redis_that_restarted_is_rebuilt_and_keeps_open_calls(calls: Calls) -> None:
    waiting, running_job = calls.place(), calls.place()
    taken = calls.claim(running_job.job)
    calls.call()
    with calls.books.owner.begin() as connection:
        connection.execute(sa.text("UPDATE window_epoch SET redis_run_id = 'another process'"))
    calls.books.redis.hincrby(keys.org(calls.books.org), "bal", 12345)  # what a lost second may leave wrong
    calls.turn()
    reading = credit.read(calls.books.redis, calls.books.org)
    assert reading is not None
    assert (reading.held_micro, reading.slots) == (waiting.hold_micro + running_job.hold_micro, 2)
    assert calls.all_is_well()
    assert calls.finish(running_job.job, taken) == "ok"
    assert calls.finish(waiting.job, calls.claim(waiting.job)) == "ok"
    assert calls.violations() == []
    calls.turn()
    reading = credit.read(calls.books.redis, calls.books.org)
    assert reading is not None and (reading.held_micro, reading.slots) == (0, 0)
    assert calls.all_is_well()


def test_a_call_that_ends_while_the_window_is_closed_is_charged_afterwards(calls: Calls) -> None:
    job = calls.place().job
    taken = calls.claim(job)
    credit.rebuild_begin(calls.books.redis)
    assert calls.finish(job, taken) == "ok"
    calls.turn()
    calls.turn()
    reading = credit.read(calls.books.redis, calls.books.org)
    assert reading is not None and reading.balance_micro == 50_000_000_000 - 10_125_000
    assert calls.all_is_well()


def test_a_job_that_came_back_after_its_end_was_settled_is_not_charged_again(calls: Calls) -> None:
    redis, job = calls.books.redis, calls.place().job
    taken = calls.claim(job)
    lost_second = {name: redis.dump(name) for name in (keys.JOB_PREFIX + job, keys.BODY_PREFIX + job)}
    lease = redis.zscore(keys.LEASES, job)
    calls.finish(job, taken)
    calls.turn()
    for name, value in lost_second.items():
        redis.restore(name, 0, value)
    redis.zadd(keys.LEASES, {job: lease})
    with calls.books.owner.begin() as connection:
        connection.execute(sa.text("UPDATE window_epoch SET redis_run_id = 'another process'"))
    calls.turn()
    assert credit.open_jobs(redis) == 0
    assert calls.finish(job, taken) == "nohold"
    calls.turn()
    assert calls.all_is_well()


def test_a_killed_rebuild_starts_again(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> int:
        raise SystemExit

    before = epoch(calls.books)
    calls.call()
    calls.books.redis.flushall()
    with monkeypatch.context() as patched:
        patched.setattr(window.upkeep, "rebuild_end", killed)
        with pytest.raises(SystemExit):
            calls.turn()
    assert calls.books.redis.get(keys.EPOCH) == b"rebuilding"
    calls.turn()
    assert epoch(calls.books) == before + 2
    assert calls.all_is_well()


def test_a_gap_in_the_outbox_closes_the_window_and_the_next_turn_rebuilds_it(calls: Calls) -> None:
    before = epoch(calls.books)
    calls.books.redis.hset(keys.org(calls.books.org), "seq", 0)  # Redis forgot a change that PostgreSQL saw applied
    with calls.books.billing.begin() as connection:
        outbox.append(connection, calls.books.org, org_version=2)
    calls.turn()
    assert calls.books.redis.get(keys.EPOCH) == b"rebuilding"
    calls.turn()
    calls.turn()
    assert epoch(calls.books) == before + 1
    assert calls.books.one("SELECT count(*) FROM outbox WHERE applied_at IS NULL") == 0
    assert calls.all_is_well()


def test_a_lost_worker_s_job_is_charged_by_its_checkpoint_and_an_unclaimed_one_is_voided(calls: Calls) -> None:
    lost, waiting = calls.place().job, calls.place().job
    calls.checkpoint(lost, calls.claim(lost))
    for job in (lost, waiting):
        calls.lapse(job)
    assert upkeep.sweep(calls.books.redis, SETTINGS.expiry_grace_s) == 2
    calls.turn()
    found = calls.books.rows("SELECT job, outcome, estimated, won FROM usage WHERE org = :org", org=calls.books.org)
    assert {(row.job.hex, row.outcome, row.estimated, str(row.won.normalize())) for row in found} == {
        (lost, "expired", True, "4.725"),
        (waiting, "voided", False, "0"),
    }
    assert calls.all_is_well()


def test_poison_that_the_window_was_charged_for_is_counted_until_a_rebuild(calls: Calls) -> None:
    job = calls.place().job
    event = calls.books.event(job=job, won="1")
    ending = running.Ending(job, calls.claim(job), event.org, event.key, "posted", event.micro, encode_event(event),
                            "r", b"", b"", 60)  # fmt: skip
    done(running.finish(Blocking(calls.books.redis), ending))
    calls.turn()
    assert calls.books.redis.xlen(keys.DEAD) == 1
    assert calls.violations() == []
    credit.rebuild_begin(calls.books.redis)
    calls.turn()
    assert calls.books.redis.xlen(keys.DEAD) == 1
    assert calls.violations() == []


def test_a_difference_is_found(calls: Calls) -> None:
    calls.books.redis.hincrby(keys.org(calls.books.org), "bal", 1)
    assert len(calls.violations()) == 1
    assert reconcile(calls.books.billing, calls.books.redis)["window"] == 1


STEPS = ("call", "place", "claim", "finish", "twice", "lapse", "turn", "restart", "flush", "close", "topup")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 3)), max_size=25))
def test_whatever_happens_the_window_is_the_books(books: Books, steps: list[tuple[str, int]]) -> None:
    books.redis.flushall()
    books.org, books.key = books.new_org()
    books.request_topup(50_000, "R0")
    calls = Calls(books)
    calls.turn()
    jobs: list[tuple[str, int]] = []
    for number, (step, choice) in enumerate(steps):
        _take(calls, jobs, step, choice, number)
        # A closed window is compared again once it is open.
        assert calls.violations() == []
    for job, _ in jobs:
        calls.lapse(job)
    upkeep.sweep(books.redis, 0)
    for _ in range(3):
        calls.turn()
    reading = credit.read(books.redis, books.org)
    assert reading is not None and (reading.held_micro, reading.slots) == (0, 0)
    assert books.redis.xlen(keys.USAGE) == 0 and books.redis.xlen(keys.DEAD) == 0
    assert calls.all_is_well()


def _take(calls: Calls, jobs: list[tuple[str, int]], step: str, choice: int, number: int) -> None:
    redis = calls.books.redis
    is_open = redis.get(keys.EPOCH) not in {None, b"rebuilding"}
    at = choice % len(jobs) if jobs else 0
    match step:
        case "call" if is_open:
            calls.call(tokens=100 * choice + 1)
        case "place" if is_open:
            jobs.append((calls.place().job, 0))
        case "claim" if jobs and not jobs[at][1] and redis.exists(keys.JOB_PREFIX + jobs[at][0]):
            jobs[at] = (jobs[at][0], calls.claim(jobs[at][0]))
        case "finish" if jobs and jobs[at][1]:
            calls.finish(*jobs.pop(at))
        case "twice" if jobs and jobs[at][1]:
            calls.finish(*jobs[at])
            calls.finish(*jobs.pop(at))
        case "lapse" if jobs:
            calls.lapse(jobs[at][0])
            upkeep.sweep(redis, 0)
        case "turn":
            calls.turn()
        case "restart":
            with calls.books.owner.begin() as connection:
                connection.execute(sa.text("UPDATE window_epoch SET redis_run_id = 'another process'"))
        case "flush" if redis.xlen(keys.USAGE) == 0 and not jobs:
            redis.flushall()
        case "close":
            credit.rebuild_begin(redis)
        case "topup":
            calls.books.request_topup(1_000 + choice, f"T{number}")
        case _:
            return
