"""What the bodies of open calls take of Redis and of the workers is bounded, and no organisation has it all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.credit import running, upkeep
from gateway.wire import keys
from tests.gateway.credit.scene import OTHER, OTHER_KEY, Stage, stage_of_two

SIZE = 20_000
ROOM = 4 * SIZE


@pytest.fixture
def stage(redis_url: str) -> Iterator[Stage]:
    made = stage_of_two(redis_url)
    yield made
    made.client.close()


def long(stage: Stage, **changes: object) -> str:
    return stage.placed(body=b"x" * SIZE, open_body_bytes=ROOM, **changes).job


def refused(stage: Stage, **changes: object) -> tuple[str, str]:
    refusal = stage.refused(**{"body": b"x" * SIZE, "open_body_bytes": ROOM, **changes})
    return refusal.reason, refusal.scope


def counted(stage: Stage) -> dict[str, int]:
    found: dict[bytes, bytes] = stage.client.hgetall(keys.LONG)  # pyright: ignore[reportAssignmentType]
    return {whose.decode(): int(count) for whose, count in found.items()}


def test_one_organisation_has_half_of_the_room_and_all_together_have_no_more_than_it(stage: Stage) -> None:
    long(stage), long(stage)
    assert refused(stage) == ("bodies", "org")
    assert stage.reading().slots == 2, "nothing is taken"
    stage.placed(body=b"short", open_body_bytes=ROOM)
    long(stage, org=OTHER, key=OTHER_KEY), long(stage, org=OTHER, key=OTHER_KEY)
    assert refused(stage, org=OTHER, key=OTHER_KEY) == ("bodies", "all")
    assert counted(stage) == {"all": ROOM, stage.org: ROOM // 2, OTHER: ROOM // 2}


def test_the_background_has_half_of_it(stage: Stage) -> None:
    long(stage, background=True)
    assert refused(stage, background=True) == ("bodies", "org")
    long(stage, org=OTHER, key=OTHER_KEY, background=True)
    assert refused(stage, org=OTHER, key=OTHER_KEY, background=True) == ("bodies", "all")
    long(stage)


def test_a_single_body_has_room_whatever_its_size(stage: Stage) -> None:
    job = stage.placed(body=b"x" * 2 * ROOM, open_body_bytes=ROOM).job
    assert refused(stage, org=OTHER, key=OTHER_KEY) == ("bodies", "all")
    assert stage.cancel(job) == "voided"
    long(stage, org=OTHER, key=OTHER_KEY)


def test_every_way_to_end_gives_the_room_back(stage: Stage) -> None:
    ended, left, lost = long(stage), long(stage), ""
    assert stage.finish(ended, stage.claimed(ended).epoch, 100) == "ok"
    assert counted(stage) == {"all": SIZE, stage.org: SIZE}
    lost = long(stage)
    assert stage.cancel(left) == "voided"
    stage.claimed(lost)
    stage.lapse(lost, by_ms=60_000)
    assert upkeep.sweep(stage.client, 12_000) == [lost]
    assert counted(stage) == {}


def test_lapsed_jobs_make_room_for_the_next(stage: Stage) -> None:
    for job in (long(stage), long(stage)):
        stage.claimed(job)
        stage.lapse(job, by_ms=60_000)
    long(stage)
    assert counted(stage) == {"all": SIZE, stage.org: SIZE}


def test_what_an_earlier_version_did_not_take_off_is_found_by_counting_anew(stage: Stage) -> None:
    gone, kept = long(stage), long(stage)
    stage.client.hdel(keys.JOB_PREFIX + gone, "len")  # what its end does not see, it does not take off
    assert isinstance(stage.claim(gone), running.Claim)
    assert stage.finish(gone, 1, 0) == "ok"
    assert counted(stage) == {"all": 2 * SIZE, stage.org: 2 * SIZE}
    assert upkeep.recount(stage.client) == SIZE
    assert counted(stage) == {"all": SIZE, stage.org: SIZE}
    assert stage.cancel(kept) == "voided"
    assert upkeep.recount(stage.client) == 0
    assert counted(stage) == {}
