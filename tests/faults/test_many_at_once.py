"""Many callers at the same moment: streams on one worker, and a credit that does not suffice for all."""

from decimal import Decimal

import pytest

from tests.faults.conftest import Scene, open_scene
from tests.faults.load import Ask, load
from tests.operating import Installation, until
from tests.provider.server import Provider

_STREAMS = 1_000
_CALLERS = 200
_WON = 60
_FLOOD, _ASKED = 300, 20


def test_one_worker_holds_a_thousand_open_streams(lone_scene: Scene) -> None:
    gate = lone_scene.provider.gate
    with load(lone_scene.url, lone_scene.key, [Ask(True, 3, "")], 4, once=True) as first:
        first.wait_for_outcomes(4)  # connections are open and the key is known, as in a process that has served before
    gate.close()
    assert len(lone_scene.installation.pids("worker")) == 1
    with load(lone_scene.url, lone_scene.key, [Ask(True, 3, "gate=1")], _STREAMS, once=True, patient=True) as running:
        until(lambda: gate.waiting >= _STREAMS or running.outcomes, "all streams open at the provider")
        assert running.outcomes == []
        assert lone_scene.window()["slots"] == _STREAMS
        gate.open()
        outcomes = running.finish()
    assert [o for o in outcomes if not o.whole] == []
    books = lone_scene.books([*first.outcomes, *outcomes])
    assert books.differences() == []
    assert len(books.rows) == 4 + _STREAMS


@pytest.fixture
def strict_scene(pair: Installation, fault_provider: Provider) -> Scene:
    """A customer whose 60 won are enough for some of the calls only, and who must never owe."""
    return open_scene(pair, fault_provider, _WON, "strict")


def test_concurrent_calls_never_take_more_than_the_credit(strict_scene: Scene) -> None:
    scene, gate = strict_scene, strict_scene.provider.gate
    gate.close()
    ask = Ask(False, 50, "gate=0", options={"max_tokens": 50})
    with load(scene.url, scene.key, [ask], _CALLERS, once=True) as running:
        until(lambda: gate.waiting + len(running.outcomes) == _CALLERS, "all admitted or refused")
        window = scene.window()
        assert window["held_micro"] <= _WON * 1_000_000
        gate.open()
        outcomes = running.finish()
    assert {o.status for o in outcomes} == {200, 403}
    books = scene.books(outcomes)
    assert books.differences() == []
    assert sum(Decimal(row["cost_krw"]) for row in books.rows) <= _WON
    assert scene.balance_matches(books)
    assert sum(o.status == 200 for o in outcomes) == len(books.rows)


def test_credit_is_used_to_its_end_and_not_beyond(strict_scene: Scene) -> None:
    scene, ask = strict_scene, Ask(False, 50, "", options={"max_tokens": 50})
    with load(scene.url, scene.key, [ask], 20) as running:
        until(lambda: sum(o.status == 403 for o in running.outcomes) >= _CALLERS, "credit used up")
        outcomes = running.finish()
    scene.at_rest()  # what the last calls held and did not use is there again
    with load(scene.url, scene.key, [ask], 1) as alone:
        until(lambda: any(o.status == 403 for o in alone.outcomes), "a refusal while nothing is held")
        outcomes += alone.finish()
    books = scene.books(outcomes)
    assert books.differences() == []
    left = scene.window()["balance_micro"]
    assert 0 <= left < 5_000_000, "less than one call's hold is left"
    assert scene.balance_matches(books)


def test_a_flood_of_one_customer_does_not_make_another_wait_behind_it(
    pair: Installation, fault_provider: Provider
) -> None:
    flood, other = (open_scene(pair, fault_provider, 100_000, "optimistic") for _ in range(2))
    with load(flood.url, flood.key, [Ask(False, 3, "")], _FLOOD) as flooding:
        flooding.wait_for_outcomes(_FLOOD)
        before = sum(o.whole for o in flooding.outcomes)
        with load(other.url, other.key, [Ask(False, 3, "")], 1) as asking:
            asking.wait_for_outcomes(_ASKED)
            outcomes = asking.finish()
        meanwhile = sum(o.whole for o in flooding.outcomes) - before
        flooding.finish()
    assert [o for o in outcomes if not o.whole] == [], "refusals are the flood's"
    # who stood behind the flood would see nearly all of its callers answered before each of his own answers
    assert meanwhile < len(outcomes) * _FLOOD / 2
