"""The life of a hold, against a real server."""

from __future__ import annotations

import json
import time

import pytest

from gateway.credit import admission, running, upkeep
from gateway.credit.running import CANCELLED, DISOWNED, LOST, RENEWED, Heartbeat
from gateway.wire import ids, keys
from tests.gateway.credit.blocking import done
from tests.gateway.credit.scene import EPOCH, ORG, Stage, limited


@pytest.fixture
def stage(redis_url: str) -> Stage:
    return Stage(redis_url)


def test_a_placement_takes_hold_and_slot_and_publishes_one_message(stage: Stage) -> None:
    placed = stage.placed()
    assert (placed.cap, placed.hold_micro) == (50, 600)
    now = stage.reading()
    assert (now.balance_micro, now.held_micro, now.slots) == (10_000, 600, 1)
    [raw] = stage.client.lrange(keys.CALL_QUEUE, 0, -1)  # pyright: ignore[reportGeneralTypeIssues]
    message = json.loads(raw)
    assert message["headers"]["id"] == placed.job
    assert json.loads(message["body"])[0] == [""]  # it says that jobs wait, not which
    assert stage.waiting() == [placed.job]
    assert "{ID}" not in raw.decode()


def test_the_job_id_is_a_uuid7_of_the_servers_clock(stage: Stage) -> None:
    import uuid

    placed = stage.placed()
    assert uuid.UUID(placed.job).version == 7
    assert ids.milliseconds(placed.job) == placed.now_ms
    assert abs(placed.now_ms / 1000 - time.time()) < 60


def test_the_body_is_sealed_to_a_place_known_before_the_id_is(stage: Stage) -> None:
    digits = ids.random_parts()
    placed = stage.placed(digits=digits)
    assert ids.place_of(placed.job) == "".join(digits).encode()


def test_credit_that_covers_only_part_grants_a_smaller_cap(stage: Stage) -> None:
    stage.placed(cap=940)  # holds 9,500 of 10,000
    assert stage.placed(cap=50).cap == 40  # 500 left: 100 input + 40 x 10
    assert stage.reading().held_micro == 10_000
    assert stage.refused().reason == "credit"


def test_a_cap_too_small_to_be_of_use_is_refused_as_exhausted_credit(stage: Stage) -> None:
    stage.placed(cap=974)  # 9,840 held, 160 left: 6 tokens
    refusal = stage.refused()
    assert (refusal.reason, refusal.scope) == ("credit", "credit")
    assert stage.placed(cap=6, least_cap=6).cap == 6


def test_key_and_month_limits_refuse_on_their_own(stage: Stage) -> None:
    assert stage.refused(key_limit_micro=200).scope == "key"
    assert stage.refused(month_limit_micro=200).scope == "month"
    placed = stage.placed(key_limit_micro=600, month_limit_micro=600)
    assert stage.refused(key_limit_micro=600).scope == "key"
    stage.finish(placed.job, stage.claimed(placed.job).epoch, 550)
    assert stage.refused(key_limit_micro=600).scope == "key"
    assert stage.refused(month_limit_micro=600).scope == "month"
    assert stage.placed(month_limit_micro=600, month="202612").cap == 50


def test_postpaid_ignores_the_balance_but_not_the_month(stage: Stage) -> None:
    assert stage.placed(prepaid=False, cap=100_000).cap == 100_000
    assert stage.refused(prepaid=False, cap=100, month_limit_micro=1_000_000).reason == "credit"


def test_requests_per_minute_count_exactly_and_refusals_do_not(stage: Stage) -> None:
    rates = limited("k:key-1", 3)
    assert [stage.placed(rates=rates).remaining for _ in range(3)] == [[2], [1], [0]]
    refusal = stage.refused(rates=rates)
    assert refusal.reason == "rate" and refusal.scope == "k:key-1"
    assert 0 < refusal.retry_ms <= 60_000
    assert stage.client.llen(keys.rate("k:key-1")) == 3


def test_a_request_leaves_the_rate_window_after_sixty_seconds(stage: Stage) -> None:
    rates = limited("k:key-1", 2)
    first, second = stage.placed(rates=rates), stage.placed(rates=rates)
    name = keys.rate("k:key-1")
    stage.client.lset(name, 1, str(first.now_ms - 60_001))
    assert stage.placed(rates=rates).remaining == [0]
    assert stage.client.lrange(name, 0, -1)[1] == str(second.now_ms).encode()  # pyright: ignore[reportIndexIssue]


def test_slots_are_limited_and_come_back(stage: Stage) -> None:
    first = stage.placed(org_slots=1)
    assert stage.refused(org_slots=1).reason == "slots"
    assert stage.refused(key_slots=1).scope == "key"
    stage.finish(first.job, stage.claimed(first.job).epoch, 1)
    assert stage.placed(org_slots=1, key_slots=1).cap == 50


def test_a_full_queue_refuses_before_it_promises(stage: Stage) -> None:
    stage.placed(queue_max=1)
    assert stage.refused(queue_max=1).reason == "queue"
    assert stage.reading().slots == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"window_epoch": "6"}, "rebuilding"),
        ({"org_version": 2}, "stale"),
        ({"key_version": 2}, "stale"),
        ({"key": "unknown"}, "stale"),
        ({"org": "unknown"}, "rebuilding"),
        ({"valid_until_ms": 1}, "terms"),
        ({"valid_from_ms": 2**52 - 1}, "terms"),
    ],
)
def test_what_is_out_of_date_is_refused_and_takes_nothing(
    stage: Stage, changes: dict[str, object], reason: str
) -> None:
    assert stage.refused(**changes).reason == reason
    assert stage.reading().held_micro == 0
    assert stage.client.llen(keys.CALL_QUEUE) == 0


def test_a_revoked_key_is_refused_even_by_a_front_end_that_missed_the_news(stage: Stage) -> None:
    stage.placed(key_version=1)
    done(admission.seed_key(stage.executor, stage.key, 2, 0))
    assert stage.refused(key_version=1).reason == "stale"
    done(admission.seed_key(stage.executor, stage.key, 1, 0))
    assert stage.refused(key_version=1).reason == "stale"


def test_a_claim_is_granted_once_while_its_lease_lives(stage: Stage) -> None:
    job = stage.placed().job
    claim = stage.claimed(job)
    assert (claim.epoch, claim.cap, claim.hold_micro, claim.body, claim.reply) == (1, 50, 600, b"sealed", "wr:reply:a")
    assert stage.claim(job, worker="w2") == running.NotClaimed("leased", job)
    stage.lapse(job)
    assert stage.claimed(job, worker="w2").epoch == 2


def test_the_end_posts_the_charge_and_gives_everything_back(stage: Stage) -> None:
    job = stage.placed().job
    epoch = stage.claimed(job).epoch
    assert stage.finish(job, epoch, 321) == "ok"
    now = stage.reading()
    assert (now.balance_micro, now.held_micro, now.slots) == (9_679, 0, 0)
    [event] = stage.events()
    assert (event["job"], event["out"], event["micro"], event["hold"], event["ev"]) == (
        job,
        "posted",
        "321",
        "1",
        "event",
    )
    assert not stage.client.keys("wr:[jb]:*")
    assert upkeep.open_jobs(stage.client) == 0


def test_a_worker_that_lost_its_job_can_write_nothing(stage: Stage) -> None:
    job = stage.placed().job
    first = stage.claimed(job)
    stage.lapse(job)
    second = stage.claimed(job, worker="w2")
    assert stage.finish(job, first.epoch, 100) == "stale"
    assert stage.renew(Heartbeat(job, first.epoch)) == [LOST]
    assert stage.finish(job, second.epoch, 200) == "ok"
    assert [event["micro"] for event in stage.events()] == ["200"]


def test_a_second_claim_learns_of_the_first_ones_attempts(stage: Stage) -> None:
    job = stage.placed().job
    first = stage.claimed(job)
    assert stage.renew(Heartbeat(job, first.epoch, attempts=b"one")) == [RENEWED]
    stage.lapse(job)
    assert stage.claimed(job).attempts == b"one"


def test_a_job_that_kills_its_workers_is_ended_not_claimed_for_ever(stage: Stage) -> None:
    job = stage.placed().job
    for _ in range(running.MOST_EPOCHS):
        stage.claimed(job)
        stage.lapse(job)
    assert stage.claim(job) == running.NotClaimed("spent", job, "wr:reply:a", running.MOST_EPOCHS)
    assert [event["out"] for event in stage.events()] == ["voided"]


def test_an_unclaimed_job_is_voided_by_cancel(stage: Stage) -> None:
    job = stage.placed().job
    assert stage.cancel(job) == "voided"
    assert stage.claim(job) == running.NotClaimed("gone", job)
    assert (stage.reading().held_micro, stage.reading().slots) == (0, 0)
    assert [(e["out"], e["micro"], e["ev"]) for e in stage.events()] == [("voided", "0", "base")]
    assert stage.cancel(job) == "gone"


def test_a_running_job_is_asked_to_stop(stage: Stage) -> None:
    job = stage.placed().job
    epoch = stage.claimed(job).epoch
    assert stage.cancel(job) == "asked"
    assert stage.renew(Heartbeat(job, epoch)) == [CANCELLED]
    assert stage.finish(job, epoch, 5) == "ok"


def test_cancelling_a_job_of_a_dead_worker_charges_its_checkpoint(stage: Stage) -> None:
    job = stage.placed().job
    epoch = stage.claimed(job).epoch
    stage.renew(Heartbeat(job, epoch, checkpoint=b"so far", micro=77))
    stage.lapse(job)
    assert stage.cancel(job) == "expired"
    assert [(e["out"], e["micro"], e["ev"]) for e in stage.events()] == [("expired", "77", "so far")]
    assert stage.reading().balance_micro == 9_923


@pytest.mark.parametrize("alive", [True, False])
def test_a_disowned_job_is_never_charged(stage: Stage, alive: bool) -> None:
    job = stage.placed().job
    epoch = stage.claimed(job).epoch
    stage.renew(Heartbeat(job, epoch, checkpoint=b"so far", micro=77))
    if alive:
        assert stage.cancel(job, free=True) == "asked"
        assert stage.renew(Heartbeat(job, epoch)) == [DISOWNED]
    stage.lapse(job, by_ms=60_000)
    if alive:  # its worker dies before it hears of it
        assert upkeep.sweep(stage.client, 12_000) == [job]
    else:
        assert stage.cancel(job, free=True) == "voided"
    assert [(e["out"], e["micro"]) for e in stage.events()] == [("voided", "0")]
    assert (stage.reading().balance_micro, stage.reading().held_micro) == (10_000, 0)


def test_a_worker_that_has_not_heard_that_its_job_is_disowned_cannot_charge_it(stage: Stage) -> None:
    job = stage.placed().job
    epoch = stage.claimed(job).epoch
    assert stage.cancel(job, free=True) == "asked"
    assert stage.finish(job, epoch, 500) == "disowned"
    assert stage.events() == []
    assert stage.finish(job, epoch, 0) == "ok"
    assert [(e["out"], e["micro"], e["hold"]) for e in stage.events()] == [("posted", "0", "1")]
    assert (stage.reading().balance_micro, stage.reading().held_micro) == (10_000, 0)


def test_jobs_are_known_until_their_answers_are_forgotten(stage: Stage) -> None:
    jobs = [stage.placed().job for _ in range(3)]
    stage.claimed(jobs[0])
    stage.client.set(keys.kept("ended"), b"sealed")
    assert done(admission.known_jobs(stage.executor)) == {*jobs, "ended"}


def test_the_sweeper_waits_for_the_grace_before_it_expires(stage: Stage) -> None:
    job = stage.placed().job
    stage.claimed(job)
    stage.lapse(job, by_ms=1_000)
    assert upkeep.sweep(stage.client, grace_ms=60_000) == []
    assert upkeep.sweep(stage.client, grace_ms=500) == [job]
    assert stage.reading().held_micro == 0


def test_an_unclaimed_job_needs_no_grace(stage: Stage) -> None:
    job = stage.placed().job
    stage.lapse(job)
    assert upkeep.sweep(stage.client, grace_ms=60_000) == [job]


def test_admission_frees_what_lapsed_before_it_refuses(stage: Stage) -> None:
    first = stage.placed(org_slots=1)
    stage.claimed(first.job)
    stage.lapse(first.job, by_ms=20_000)
    assert stage.placed(org_slots=1).cap == 50
    assert stage.reading().slots == 1


def test_a_late_end_appends_its_event_without_touching_the_window(stage: Stage) -> None:
    job = stage.placed().job
    epoch = stage.claimed(job).epoch
    stage.lapse(job, by_ms=20_000)
    upkeep.sweep(stage.client, grace_ms=0)
    before = stage.reading()
    assert stage.finish(job, epoch, 300) == "nohold"
    assert stage.reading() == before
    assert [e["hold"] for e in stage.events()] == ["1", "0"]


def test_a_hold_grows_while_credit_lasts_and_not_beyond(stage: Stage) -> None:
    job = stage.placed(cap=900).job  # 9,100 held
    epoch = stage.claimed(job).epoch
    assert done(running.extend(stage.executor, job, epoch, 60)) == 960
    assert done(running.extend(stage.executor, job, epoch, 60)) == 990
    assert done(running.extend(stage.executor, job, epoch, 60)) is None
    assert stage.reading().held_micro == 10_000
    stage.finish(job, epoch, 9_999)
    assert (stage.reading().balance_micro, stage.reading().held_micro) == (1, 0)


def test_a_message_is_published_again_only_where_nobody_works_on_it(stage: Stage) -> None:
    job = stage.placed().job
    assert done(admission.republish(stage.executor, job, claimed_only=True)) == "waiting"
    assert done(admission.republish(stage.executor, job)) == "sent"
    assert stage.messages() == 1, "the first message still lies there"
    stage.client.delete(keys.CALL_QUEUE)  # a worker has popped it and was killed before it took anything
    assert done(admission.republish(stage.executor, job)) == "sent"
    assert stage.messages() == 1
    epoch = stage.claimed(job).epoch
    assert done(admission.republish(stage.executor, job)) == "running"
    stage.lapse(job)
    assert done(admission.republish(stage.executor, job)) == "again"
    assert stage.messages() == 2
    stage.finish(job, epoch, 0)
    assert done(admission.republish(stage.executor, job)) == "gone"


def test_outbox_changes_apply_once_and_in_order(stage: Stage) -> None:
    def apply(seq: int, amount: int, epoch: str = EPOCH) -> str:
        return upkeep.apply(stage.client, upkeep.Change(ORG, seq, amount), epoch)

    assert apply(1, 500) == "applied"
    assert apply(1, 500) == "known"
    assert apply(3, 500) == "gap"
    assert apply(2, 7, epoch="other") == "rebuilding"
    assert apply(2, 7) == "applied"
    assert stage.reading().balance_micro == 10_507


def test_a_rebuild_takes_surviving_holds_over(stage: Stage) -> None:
    running_job, placed_job = stage.placed().job, stage.placed().job
    epoch = stage.claimed(running_job).epoch
    assert upkeep.rebuild_begin(stage.client) == 2
    assert stage.refused().reason == "rebuilding"
    window = upkeep.OrgWindow(ORG, 1, 20_000, 4, [("202611", 50)], [("key-1", 1, 50)])
    assert upkeep.rebuild_end(stage.client, [window], "8") == 2
    now = stage.reading()
    assert (now.balance_micro, now.held_micro, now.slots, now.seq) == (20_000, 1_200, 2, 4)
    assert stage.finish(running_job, epoch, 600) == "ok"
    assert stage.cancel(placed_job) == "voided"
    assert (stage.reading().balance_micro, stage.reading().held_micro) == (19_400, 0)


def test_an_end_during_a_rebuild_leaves_its_charge_to_settlement(stage: Stage) -> None:
    job = stage.placed().job
    epoch = stage.claimed(job).epoch
    upkeep.rebuild_begin(stage.client)
    assert stage.finish(job, epoch, 600) == "ok"
    assert [e["hold"] for e in stage.events()] == ["0"]
    upkeep.rebuild_end(stage.client, [upkeep.OrgWindow(ORG, 1, 10_000, 0, [], [])], "8")
    assert (stage.reading().held_micro, stage.reading().slots) == (0, 0)


def test_large_amounts_stay_exact(redis_url: str) -> None:
    stage = Stage(redis_url, balance=9_000_000_000_000_000)
    placed = stage.placed(input_micro=8_999_999_999_999_983, cap=17, unit_micro=1, least_cap=17)
    assert placed.hold_micro == 9_000_000_000_000_000
    assert stage.refused(cap=16, least_cap=16, input_micro=0, unit_micro=1).reason == "credit"
    stage.finish(placed.job, stage.claimed(placed.job).epoch, 8_999_999_999_999_999)
    assert stage.reading().balance_micro == 1
