"""How waiting jobs reach workers: one message for many, every organisation in turn, nothing lost with a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.credit import upkeep
from gateway.wire import keys
from tests.gateway.credit.scene import EPOCH, Stage

OTHER, OTHER_KEY = "org-2", "key-2"


@pytest.fixture
def stage(redis_url: str) -> Iterator[Stage]:
    made = Stage(redis_url, balance=10**9)
    windows = [upkeep.OrgWindow(org, 1, 10**9, 0, [], [(key, 1, 0)])
               for org, key in ((made.org, made.key), (OTHER, OTHER_KEY))]  # fmt: skip
    upkeep.rebuild_begin(made.client)
    upkeep.rebuild_end(made.client, windows, EPOCH)
    yield made
    made.client.close()


def test_jobs_that_come_together_share_one_message(stage: Stage) -> None:
    jobs = [stage.placed().job for _ in range(5)]
    assert stage.messages() == 1
    assert stage.take(16) == jobs
    assert stage.waiting() == []
    assert stage.client.get(keys.WAITING) == b"0"
    assert stage.messages() == 1, "nothing is left: no other worker is called"


def test_what_one_worker_has_no_place_for_calls_another(stage: Stage) -> None:
    jobs = [stage.placed().job for _ in range(5)]
    stage.client.delete(keys.CALL_QUEUE)  # the first worker has taken its message
    assert stage.take(3) == jobs[:3]
    assert stage.messages() == 1
    assert stage.take(3, worker="w2") == jobs[3:]


def test_organisations_take_turns_whatever_one_of_them_has_waiting(stage: Stage) -> None:
    flood = [stage.placed().job for _ in range(6)]
    late = [stage.placed(org=OTHER, key=OTHER_KEY).job for _ in range(2)]
    assert stage.take(5) == [flood[0], late[0], flood[1], late[1], flood[2]]
    assert stage.take(5) == flood[3:]


def test_one_organisation_fills_half_of_the_queue_and_leaves_the_rest_to_others(stage: Stage) -> None:
    for _ in range(2):
        stage.placed(queue_max=4)
    refusal = stage.refused(queue_max=4)
    assert (refusal.reason, refusal.scope) == ("queue", "org")
    for _ in range(2):
        stage.placed(queue_max=4, org=OTHER, key=OTHER_KEY)
    assert stage.refused(queue_max=4, org=OTHER, key=OTHER_KEY).scope == "all"
    assert stage.reading().slots == 2


def test_a_job_that_ended_while_it_waited_takes_no_place(stage: Stage) -> None:
    jobs = [stage.placed().job for _ in range(4)]
    assert stage.cancel(jobs[0]) == stage.cancel(jobs[2]) == "voided"
    assert stage.take(2) == [jobs[1], jobs[3]]
    assert stage.client.get(keys.WAITING) == b"0"


def test_a_waiting_job_that_was_claimed_by_name_is_not_taken_again(stage: Stage) -> None:
    named, other = stage.placed().job, stage.placed().job
    stage.claimed(named)
    assert stage.take(16) == [other]


def test_a_message_that_was_lost_with_its_worker_is_followed_by_another(stage: Stage) -> None:
    first = stage.placed().job
    stage.client.delete(keys.CALL_QUEUE)  # popped by a worker that was killed before it took anything
    assert 0 < int(stage.client.pttl(keys.CALLED)) <= 500  # pyright: ignore[reportArgumentType]
    second = stage.placed().job
    assert stage.messages() == 0
    stage.client.delete(keys.CALLED)  # what half a second does
    third = stage.placed().job
    assert stage.messages() == 1
    assert stage.take(16) == [first, second, third]
