"""Tokens per minute and calls of one model at once, against a real server."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.credit import running, upkeep
from gateway.credit.admission import ModelSlots, Placed, Refused, TokenLimit
from gateway.wire import keys
from gateway.wire.event import Tokens, UsageEvent, encode_event
from tests.gateway.credit.blocking import InOneMoment, done
from tests.gateway.credit.scene import EPOCH, KEY, ORG, Stage

KEY_SCOPE, ORG_SCOPE = f"k:{KEY}", f"o:{ORG}"
MODEL = "openai/gpt-4o"


@pytest.fixture
def stage(redis_url: str) -> Stage:
    return Stage(redis_url)


def limited(key: int = 1_000, org: int | None = None) -> tuple[TokenLimit, ...]:
    return (TokenLimit(KEY_SCOPE, key), *(() if org is None else (TokenLimit(ORG_SCOPE, org),)))


def place(stage: Stage, tokens: int, limits: tuple[TokenLimit, ...] | None = None) -> Placed | Refused:
    return stage.place(tokens=tokens, token_limits=limited() if limits is None else limits)


def used(stage: Stage, scope: str = KEY_SCOPE) -> int:
    counted: Any = stage.client.hvals(keys.tokens(scope))
    return sum(int(count) for count in counted)


def end(stage: Stage, job: str, prompt: int, completion: int) -> None:
    event = UsageEvent(
        job=job, org=ORG, key=KEY, asked="m", surface="bizrouter", endpoint="chat", stream=False,
        tokens=Tokens(prompt=prompt, completion=completion),
    )  # fmt: skip
    ending = running.Ending(job, 1, ORG, KEY, "posted", 1, encode_event(event), "wr:reply:a", b"", b"", 60)
    assert done(running.finish(stage.executor, ending))[0] == "ok"


COUNT = "return redis.call('HSET', KEYS[1], redis.call('TIME')[1] - ARGV[1], ARGV[2])"
"""So many tokens, counted so many seconds ago."""


def now_ms(stage: Stage) -> int:
    seconds, micros = stage.client.time()  # pyright: ignore[reportGeneralTypeIssues]
    return int(seconds) * 1000 + int(micros) // 1000


def age(stage: Stage, seconds: int) -> None:
    """Moves what has been counted into the past."""
    counted: Any = stage.client.hgetall(keys.tokens(KEY_SCOPE))
    stage.client.delete(keys.tokens(KEY_SCOPE))
    for second, count in counted.items():
        stage.client.hset(keys.tokens(KEY_SCOPE), str(int(second) - seconds), count)


def test_tokens_are_counted_up_to_the_limit_and_not_one_beyond(stage: Stage) -> None:
    first = place(stage, 600)
    assert isinstance(first, Placed)
    assert (first.remaining, first.reset_ms[0] <= 61_000) == ([400], True)
    free_ms = (first.now_ms // 1_000 + 61) * 1_000
    earliest, refused, latest = now_ms(stage), place(stage, 401), now_ms(stage)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.scope) == ("tokens", KEY_SCOPE)
    assert free_ms - latest <= refused.retry_ms <= free_ms - earliest
    assert isinstance(place(stage, 400), Placed)
    assert used(stage) == 1_000


def test_the_tightest_of_two_limits_decides_and_a_refusal_counts_nowhere(stage: Stage) -> None:
    refused = place(stage, 600, limited(1_000, 500))
    assert refused == Refused("large", scope=ORG_SCOPE)
    assert isinstance(place(stage, 300, limited(1_000, 500)), Placed)
    refused = place(stage, 300, limited(1_000, 500))
    assert isinstance(refused, Refused)
    assert refused.scope == ORG_SCOPE
    assert (used(stage), used(stage, ORG_SCOPE)) == (300, 300)


def test_the_end_counts_what_was_used_instead_of_what_might_have_been(stage: Stage) -> None:
    job = stage.placed(tokens=900, token_limits=limited()).job
    stage.claimed(job)
    end(stage, job, 40, 60)
    assert used(stage) == 100
    assert isinstance(place(stage, 900), Placed)


def test_what_was_used_beyond_is_counted_at_the_end(stage: Stage) -> None:
    job = stage.placed(tokens=100, token_limits=limited()).job
    stage.claimed(job)
    age(stage, 65)  # the admission has left the window; what its stream grew to is in it
    end(stage, job, 40, 560)
    assert used(stage) - 100 == 500
    assert isinstance(place(stage, 501), Refused)


def test_a_job_that_nobody_claimed_gives_its_tokens_back(stage: Stage) -> None:
    unused = UsageEvent(job="", org=ORG, key=KEY, asked="m", surface="s", endpoint="chat", stream=False)
    job = stage.placed(tokens=900, token_limits=limited(), base_event=encode_event(unused)).job
    stage.cancel(job)
    assert used(stage) == 0


def test_an_event_that_cannot_be_read_changes_no_count_and_ends_the_job(stage: Stage) -> None:
    job = stage.placed(tokens=900, token_limits=limited(), base_event=b"base").job
    assert stage.cancel(job) == "voided"
    assert used(stage) == 900


def test_tokens_leave_the_window_after_sixty_seconds_and_never_before(stage: Stage) -> None:
    stage.executor = at_the_moment = InOneMoment(stage.client)
    for seconds, answer in ((60, Refused), (61, Placed)):  # whole seconds count until they are surely over
        stage.client.delete(keys.tokens(KEY_SCOPE))
        at_the_moment.before = [("EVAL", COUNT, 1, keys.tokens(KEY_SCOPE), seconds, 1_000)]
        assert isinstance(place(stage, 1), answer)
    assert used(stage) == 1  # what is past was thrown away


def slots(org: int = -1, key: int = -1) -> dict[str, Any]:
    return {"model_slots": ModelSlots(MODEL, org, key)}


def test_calls_of_one_model_are_limited_and_others_are_not(stage: Stage) -> None:
    first = stage.placed(**slots(key=1))
    assert (stage.refused(**slots(key=1)).reason, stage.refused(**slots(key=1)).scope) == ("slots", "key")
    assert stage.refused(**slots(org=1)).scope == "org"
    stage.placed()
    stage.cancel(first.job)
    stage.placed(**slots(org=1, key=1))


def test_a_rebuild_takes_the_models_slots_over(stage: Stage) -> None:
    stage.placed(**slots(org=2))
    upkeep.rebuild_begin(stage.client)
    window = upkeep.OrgWindow(ORG, 1, 10_000, 0, [], [(KEY, 1, 0)])
    upkeep.rebuild_end(stage.client, [window], EPOCH)
    job = stage.placed(**slots(org=2)).job
    assert stage.refused(**slots(org=2)).reason == "slots"
    stage.cancel(job)
    assert int(stage.client.hget(keys.org(ORG), keys.model_slots(MODEL)) or 0) == 1  # pyright: ignore[reportArgumentType]
