"""Whose turn it is where many want the same. The order is judged, never a clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from api.errors import Overloaded
from api.turns import Line, Queue, Turnstile

pytestmark = pytest.mark.anyio


async def test_a_queue_calls_organisations_in_turn() -> None:
    queue, called = Queue(100), list[str]()
    places = {name: queue.join(name[0]) for name in ("a1", "a2", "a3", "b1", "c1", "b2")}
    for name, place in places.items():
        place.add_done_callback(lambda _, name=name: called.append(name))
    assert [queue.call() for _ in range(7)] == [True] * 6 + [False]
    await asyncio.sleep(0)
    assert called == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_one_organisation_fills_half_of_a_queue() -> None:
    queue = Queue(4)
    for _ in range(2):
        queue.join("a")
    with pytest.raises(Overloaded):
        queue.join("a")
    for _ in range(2):
        queue.join("b")
    with pytest.raises(Overloaded):
        queue.join("c")
    assert len(queue) == 4


async def test_an_organisation_whose_first_has_waited_for_long_is_refused_and_no_other() -> None:
    queue = Queue(100, longest_s=-1.0)  # any wait is long
    queue.join("a")
    with pytest.raises(Overloaded):
        queue.join("a")
    queue.join("b")


class Clock:
    """Time that the test makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr("api.turns.time", self)

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def served(queue: Queue, clock: Clock, calls: int, every_s: float) -> None:
    """Calls so many of those who wait, one after the other."""
    for _ in range(calls):
        clock.now += every_s
        assert queue.call()


def filled(queue: Queue, org: str) -> int:
    """How many wait once the organisation's next one is refused."""
    with contextlib.suppress(Overloaded):
        while True:
            queue.join(org)
    return len(queue)


async def test_who_would_wait_for_too_long_by_the_pace_of_late_is_refused(clock: Clock) -> None:
    queue = Queue(1_000, longest_s=1.0)
    for _ in range(20):
        queue.join("a")
    served(queue, clock, 10, 0.05)  # ten are left: the next one would wait for half a second
    for _ in range(9):
        queue.join("a")
    assert 19 <= filled(queue, "a") <= 21
    queue.join("b")  # its turn comes sooner


async def test_of_a_flood_those_who_are_let_in_do_not_all_wait_for_the_longest_time(clock: Clock) -> None:
    queue = Queue(1_000, longest_s=1.0)

    for _ in range(10):
        queue.join("a")
    served(queue, clock, 5, 0.05)
    burst = filled(queue, "a")
    served(queue, clock, burst, 0.05)  # for longer than anybody may wait there was always one; now there is none
    queue.join("a")
    assert filled(queue, "a") < burst / 4
    served(queue, clock, len(queue), 0.05)
    clock.now += 5.0
    queue.join("a")  # after a while without anybody it is a burst again
    assert filled(queue, "a") >= burst - 1


async def test_whoever_left_a_queue_is_passed_over() -> None:
    queue = Queue(10)
    first, second = queue.join("a"), queue.join("b")
    first.cancel()
    assert queue.call()
    assert second.done() and len(queue) == 0
    assert not queue.call()


async def test_few_calls_pass_the_turnstile_at_once() -> None:
    turnstile = Turnstile(2, 10)
    assert turnstile.pass_through("a") is None
    assert turnstile.pass_through("a") is None
    assert turnstile.pass_through("a") is not None


async def test_a_burst_of_one_organisation_lets_another_pass_after_one_turn() -> None:
    turnstile, passed = Turnstile(2, 100), list[str]()

    async def call(org: str) -> None:
        if (turn := turnstile.pass_through(org)) is not None:
            await turn
        passed.append(org)

    await asyncio.gather(*(call("flood") for _ in range(20)), call("other"))
    assert passed.index("other") <= 4
    assert len(passed) == 21 and len(turnstile) == 0


async def test_other_work_of_the_loop_goes_on_between_the_calls_of_a_burst() -> None:
    turnstile, seen = Turnstile(2, 100), list[str]()

    async def call() -> None:
        if (turn := turnstile.pass_through("flood")) is not None:
            await turn
        seen.append("call")

    calls = [asyncio.create_task(call()) for _ in range(20)]
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(seen.append, "probe")
    await asyncio.gather(*calls)
    assert seen.index("probe") < 10


class Work:
    """Long pieces of work that end when they are told to."""

    def __init__(self, line: Line) -> None:
        self.began: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self._line = line

    def start(self, name: str) -> asyncio.Task[None]:
        self.ends[name] = asyncio.Event()
        return asyncio.create_task(self._line.run(name[0], self._work(name)))

    def _work(self, name: str) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            self.began.append(name)
            await self.ends[name].wait()

        return work


async def test_a_line_lets_a_few_work_and_organisations_take_turns() -> None:
    work = Work(Line(2, 100))
    tasks = [work.start(name) for name in ("a1", "a2", "a3", "a4", "b1")]
    await asyncio.sleep(0)
    assert work.began == ["a1", "a2"]
    for name in ("a1", "a3", "b1", "a2", "a4"):
        work.ends[name].set()
    await asyncio.gather(*tasks)
    assert work.began == ["a1", "a2", "a3", "b1", "a4"]


async def test_whoever_leaves_a_line_takes_no_place_with_it() -> None:
    work = Work(Line(1, 100))
    first, second, third = (work.start(name) for name in ("a1", "b1", "c1"))
    await asyncio.sleep(0)
    second.cancel()
    work.ends["a1"].set()
    work.ends["c1"].set()
    await asyncio.gather(first, third)
    called = work.start("a1")
    work.ends["a1"].set()
    await called
    assert work.began == ["a1", "c1", "a1"]


async def test_a_place_is_passed_on_by_whoever_was_cancelled_as_it_was_called() -> None:
    work = Work(Line(1, 100))
    first, second, third = (work.start(name) for name in ("a1", "b1", "c1"))
    await asyncio.sleep(0)
    work.ends["a1"].set()
    first.add_done_callback(lambda _: second.cancel())  # b1 has been called, and has not gone on yet
    work.ends["c1"].set()
    await asyncio.wait([first, second, third])
    assert "c1" in work.began
