"""How waiting jobs reach workers: one message for many, every organisation in turn, nothing lost with a worker."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from gateway.credit import admission, running
from gateway.wire import keys
from gateway.wire.frame import Control, decode_control
from tests.gateway.credit.blocking import done
from tests.gateway.credit.scene import OTHER, OTHER_KEY, WOKEN, Stage, Unhurried, stage_of_two


@pytest.fixture
def stage(redis_url: str) -> Iterator[Stage]:
    made = stage_of_two(redis_url)
    made.executor = Unhurried(made.client)
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
    assert lasts_ms(stage, keys.CALLED) == 500
    second = stage.placed().job
    assert stage.messages() == 0
    stage.client.delete(keys.CALLED)  # what half a second does
    third = stage.placed().job
    assert stage.messages() == 1
    assert stage.take(16) == [first, second, third]


def test_jobs_of_others_do_not_wait_for_a_flood_that_is_called_again(stage: Stage) -> None:
    flood = [stage.placed().job for _ in range(20)]
    late = stage.placed(org=OTHER, key=OTHER_KEY).job
    for job in flood:
        done(admission.republish(stage.executor, job))
    assert stage.messages() == 1, "a message that named a job would let it pass the others"
    assert late in stage.take(2)


class TestWorkersThatAreAwake:
    @pytest.fixture
    def ears(self, stage: Stage) -> Iterator[dict[str, list[Control]]]:
        """What two workers hear on their channels, until now."""
        heard: dict[str, list[Control]] = {"w1": [], "w2": []}
        with stage.client.pubsub(ignore_subscribe_messages=True) as ears:
            ears.subscribe(*map(keys.control, heard))
            for _ in heard:
                ears.get_message(timeout=60)

            def listen() -> dict[str, list[Control]]:
                ears.ping()  # what was published before is heard before the answer
                while (message := ears.get_message(timeout=60)) and message["type"] != "pong":
                    heard[message["channel"].decode().rpartition(":")[2]].append(decode_control(message["data"]))
                return heard

            self.listen = listen
            yield heard

    def test_are_told_on_their_own_channel_instead_of_by_a_message(self, stage: Stage, ears: object) -> None:
        awake(stage, "w1")
        jobs = [stage.placed().job for _ in range(3)]
        assert self.listen() == {"w1": [Control("take", "")], "w2": []}
        assert stage.messages() == 0
        assert stage.take(16, "w1", listening=True) == jobs

    def test_are_called_in_turn_the_one_whose_last_take_is_longest_ago_first(self, stage: Stage, ears: object) -> None:
        awake(stage, "w1", since_min=10)
        awake(stage, "w2", since_min=20)
        stage.placed()
        assert [len(calls) for calls in self.listen().values()] == [0, 1]

    def test_are_not_the_only_ones_every_eighth_call_wakes_another(self, stage: Stage, ears: object) -> None:
        def calls(most: int) -> None:
            for _ in range(most):
                awake(stage, "w1")
                stage.placed()

        calls(15)
        assert stage.messages() == 1
        calls(9)  # two more are due, but one was a moment ago
        assert (len(self.listen()["w1"]), stage.messages()) == (23, 1)
        stage.client.delete(WOKEN)
        calls(8)
        assert (len(self.listen()["w1"]), stage.messages()) == (30, 2)
        assert lasts_ms(stage, WOKEN) == 250

    def test_call_one_that_sleeps_for_what_they_leave_and_soon_after_one_that_is_awake(
        self, stage: Stage, ears: object
    ) -> None:
        for _ in range(6):
            stage.placed()
        stage.client.delete(keys.CALL_QUEUE)
        stage.take(2, "w1", listening=True)
        assert lasts_ms(stage, WOKEN) == 50
        assert (self.listen()["w1"], stage.messages()) == ([], 1)
        stage.take(2, "w1", listening=True)
        assert (len(self.listen()["w1"]), stage.messages()) == (1, 1)

    def test_fall_asleep_after_a_second_without_jobs(self, stage: Stage, ears: object) -> None:
        stage.take(1, "w1", listening=True)
        stage.client.zadd(keys.AWAKE, {"w1": -1_001}, incr=True)
        stage.placed()
        assert stage.messages() == 1
        assert self.listen()["w1"] == []

    def test_that_died_are_passed_over(self, stage: Stage, ears: object) -> None:
        awake(stage, "dead")
        stage.placed()
        assert stage.messages() == 1
        assert stage.client.zcard(keys.AWAKE) == 0

    def test_that_do_not_listen_are_called_by_message(self, stage: Stage, ears: object) -> None:
        stage.take(1, "w1")
        stage.placed()
        assert stage.messages() == 1

    def test_that_cannot_take_jobs_pass_the_call_on(self, stage: Stage, ears: object) -> None:
        awake(stage, "w1", since_min=20)
        awake(stage, "w2", since_min=10)
        stage.placed()
        done(running.pass_on(stage.executor, "w1"))
        assert [len(calls) for calls in self.listen().values()] == [1, 1]
        done(running.pass_on(stage.executor, "w2"))
        assert stage.messages() == 1

    def test_pass_nothing_on_where_nothing_waits(self, stage: Stage, ears: object) -> None:
        done(running.pass_on(stage.executor, "w1"))
        assert stage.messages() == 0

    def test_are_not_trusted_by_a_front_end_whose_job_nobody_took(self, stage: Stage, ears: object) -> None:
        awake(stage, "w1")
        job = stage.placed().job
        done(admission.republish(stage.executor, job))
        assert stage.messages() == 1


class TestTheBackground:
    def test_waits_while_others_wait_and_is_taken_where_none_does(self, stage: Stage) -> None:
        behind = [stage.placed(background=True).job for _ in range(2)]
        first = [stage.placed().job for _ in range(3)]
        assert stage.take(4) == [*first, behind[0]]
        assert stage.take(4) == [behind[1]]
        assert stage.client.get(keys.DEFERRED) == stage.client.get(keys.WAITING) == b"0"

    def test_is_every_eighth_however_many_others_wait(self, stage: Stage) -> None:
        behind = [stage.placed(background=True).job for _ in range(3)]
        for _ in range(40):
            stage.placed()
        taken = [job for places in (5, 5, 10, 4) for job in stage.take(places)]
        assert [at for at, job in enumerate(taken) if job in behind] == [7, 15, 23]

    def test_has_no_more_than_its_places_of_a_worker(self, stage: Stage) -> None:
        behind = [stage.placed(background=True).job for _ in range(5)]
        stage.client.delete(keys.CALL_QUEUE)
        assert stage.take(8, background=2, behind=True) == behind[:2]
        assert stage.messages() == 0  # it would only be asked again what it cannot do
        first = [stage.placed().job for _ in range(9)]
        assert stage.take(20, background=0, behind=True) == first
        assert stage.take(20, background=3) == behind[2:]
        assert stage.client.get(keys.DEFERRED) == stage.client.get(keys.WAITING) == b"0"

    def test_another_worker_is_called_for_what_places_were_left_for(self, stage: Stage) -> None:
        for _ in range(5):
            stage.placed(background=True)
        stage.client.delete(keys.CALL_QUEUE)
        stage.take(2, background=4)
        assert stage.messages() == 1

    def test_organisations_take_turns_there_too(self, stage: Stage) -> None:
        flood = [stage.placed(background=True).job for _ in range(3)]
        late = stage.placed(background=True, org=OTHER, key=OTHER_KEY).job
        assert stage.take(4) == [flood[0], late, *flood[1:]]

    def test_has_a_queue_of_its_own_which_takes_no_place_from_others(self, stage: Stage) -> None:
        for _ in range(2):
            stage.placed(background=True, queue_max=4)
        assert stage.refused(background=True, queue_max=4).scope == "org"
        stage.placed(queue_max=4)

    def test_calls_a_worker_for_what_is_left_of_it(self, stage: Stage) -> None:
        for _ in range(3):
            stage.placed(background=True)
        stage.client.delete(keys.CALL_QUEUE)
        stage.take(2)
        assert stage.messages() == 1


class TestWhoeverWouldWaitTooLong:
    def test_is_refused_where_its_oldest_job_has_waited_for_longer(self, stage: Stage) -> None:
        first = stage.placed().job
        since = now_ms(stage) - int(first[:12], 16)
        refusal = stage.refused(longest_wait_ms=-1)  # any wait is too long
        assert (refusal.reason, refusal.scope) == ("queue", "wait")
        assert refusal.retry_ms > since
        assert stage.reading().slots == 1, "nothing was taken"
        stage.placed(longest_wait_ms=60_000)

    def test_is_judged_by_the_pace_at_which_workers_take_jobs(self, stage: Stage) -> None:
        aged(stage, 10, by_ms=4_000)
        pace(stage, jobs=10, ms=10_000)  # one a second, and ten are ahead
        assert stage.refused(longest_wait_ms=5_000).retry_ms >= 5_000
        stage.placed(longest_wait_ms=60_000)

    def test_is_not_the_organisation_that_has_nothing_waiting(self, stage: Stage) -> None:
        aged(stage, 10, by_ms=10_000)
        pace(stage, jobs=10, ms=100_000)  # one in ten seconds
        assert stage.refused(longest_wait_ms=60_000).scope == "wait"
        stage.placed(longest_wait_ms=60_000, org=OTHER, key=OTHER_KEY)  # its turn is the second

    def test_is_nobody_while_workers_keep_up(self, stage: Stage) -> None:
        pace(stage, jobs=1, ms=50_000)
        job = stage.placed(longest_wait_ms=0).job  # nothing waits: what was slow once does not matter
        assert stage.waiting() == [job]

    def test_still_calls_a_worker_whose_message_was_lost(self, stage: Stage) -> None:
        stage.placed()
        stage.client.delete(keys.CALL_QUEUE, keys.CALLED)
        stage.refused(longest_wait_ms=-1)
        assert stage.messages() == 1
        stage.refused(longest_wait_ms=-1)
        assert stage.messages() == 1


def test_a_queue_that_has_stood_for_long_is_kept_short(stage: Stage) -> None:
    aged(stage, 3, by_ms=20_000)
    pace(stage, jobs=300, ms=3_000)
    stage.placed(longest_wait_ms=60_000)  # a burst may wait
    now = now_ms(stage)
    stage.client.hset(keys.PACE, mapping={"since": now - 1_200_000, "at": now})
    assert stage.refused(longest_wait_ms=60_000).scope == "wait"
    stage.placed(longest_wait_ms=60_000, org=OTHER, key=OTHER_KEY)


def test_a_take_that_finds_only_newer_jobs_has_found_an_empty_queue_before_them(stage: Stage) -> None:
    pace(stage, jobs=300, ms=3_000)
    stage.client.hset(keys.PACE, mapping={"since": 1, "at": now_ms(stage) - 500})
    job = stage.placed().job
    stage.placed()
    stage.take(1)
    assert int(stage.client.hget(keys.PACE, "since") or 0) == int(job[:12], 16)  # pyright: ignore[reportArgumentType]


def test_the_pace_is_what_workers_took_while_more_was_left_by_and_by_forgotten(stage: Stage) -> None:
    def taken() -> tuple[float, int]:
        stage.take(4)
        jobs, at = stage.client.hmget(keys.PACE, "jobs", "at")  # pyright: ignore[reportGeneralTypeIssues]
        return float(jobs), int(at)

    for _ in range(10):
        stage.placed()
    first, second, third = taken(), taken(), taken()
    assert first[0] == 4
    assert second[0] == pytest.approx(4 * math.exp((first[1] - second[1]) / 10_000) + 4)
    assert third == second, "the last left nothing"


def now_ms(stage: Stage) -> int:
    seconds, micros = stage.client.time()  # pyright: ignore[reportGeneralTypeIssues]
    return int(seconds) * 1000 + int(micros) // 1000


def aged(stage: Stage, count: int, by_ms: int) -> None:
    """So many jobs of the first organisation, as if they had been placed some time ago."""
    for _ in range(count):
        stage.placed()
    jobs = [f"{int(job[:12], 16) - by_ms:012x}{job[12:]}" for job in stage.waiting()]
    stage.client.delete(keys.ready(stage.org))
    stage.client.rpush(keys.ready(stage.org), *jobs)


def pace(stage: Stage, jobs: int, ms: int) -> None:
    """Workers have just taken so many jobs in so many milliseconds."""
    now = now_ms(stage)
    stage.client.hset(keys.PACE, mapping={"jobs": jobs, "ms": ms, "at": now, "since": now - 1})


def awake(stage: Stage, worker: str, since_min: int = 0) -> None:
    """The worker takes what waits and stays awake, however long the test takes. Of several, who is so since more minutes
    has taken jobs before the others."""
    stage.take(1, worker, listening=True)
    stage.client.zadd(keys.AWAKE, {worker: now_ms(stage) + 3_600_000 - since_min * 60_000}, xx=True)


def lasts_ms(stage: Stage, flag: str) -> int:
    """For how long the last action on the stage has set a flag."""
    assert isinstance(stage.executor, Unhurried)
    return stage.executor.lasts_ms(flag)
