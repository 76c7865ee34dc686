"""Many waits under one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from workers.patience import Patience

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    """A loop's time, which passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[asyncio.TimerHandle, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, ring: Callable[[], None]) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, ring, (), asyncio.get_running_loop())
        self.timers.append((handle, ring))
        return handle

    def pass_until(self, moment: float) -> None:
        self.now = moment
        due = [timer for timer in self.timers if timer[0].when() <= moment]
        self.timers = [timer for timer in self.timers if timer not in due]
        for handle, ring in due:
            if not handle.cancelled():
                ring()


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_a_wait_past_its_limit_raises_and_leaves_the_task_as_it_was() -> None:
    patience = Patience()
    with pytest.raises(TimeoutError), patience.until(soon(0.01)):
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0
    with patience.until(soon(60)):
        await asyncio.sleep(0)
    patience.close()


async def test_waits_that_end_in_time_share_a_timer_that_moves_with_them() -> None:
    loop = asyncio.get_running_loop()
    made: list[float] = []
    plain = loop.call_at

    def counted(when: float, *args: object) -> asyncio.TimerHandle:
        made.append(when)
        return plain(when, *args)  # pyright: ignore[reportArgumentType]

    patience = Patience()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "call_at", counted, raising=True)
        for _ in range(100):
            with patience.until(loop.time() + 60):
                await asyncio.sleep(0)
    assert len(made) == 1
    patience.close()


async def test_a_timer_that_rings_for_an_earlier_wait_does_not_end_the_present_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patience, clock = Patience(), Clock()
    monkeypatch.setattr(patience, "_loop", clock)
    with patience.until(1.0):
        await asyncio.sleep(0)
    with patience.until(5.0):
        clock.pass_until(1.0)  # the first timer rings
        await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(clock.pass_until, 6.0)
    with pytest.raises(TimeoutError), patience.until(6.0):
        await asyncio.Event().wait()


async def test_a_nearer_limit_is_kept_though_the_timer_stood_for_a_later_one() -> None:
    patience = Patience()
    with patience.until(soon(60)):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), patience.until(soon(0.01)):
        await asyncio.wait_for(asyncio.Event().wait(), 5)
    patience.close()


async def test_a_cancellation_from_outside_stays_one() -> None:
    patience = Patience()

    async def wait() -> None:
        with patience.until(soon(60)):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    patience.close()
