"""The watch over one child: when it is started again."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest

from gateway.engines import EngineError
from gateway.up.children import Watch


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class DiesAtOnce:
    """A child that ends as soon as it has begun, or cannot even begin."""

    name = "worker 1"

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.cannot_start = False

    def spawn(self) -> None:
        self.starts += 1
        if self.cannot_start:
            raise EngineError("no")
        self.process = subprocess.Popen([sys.executable, "-S", "-c", ""])
        self.process.wait()

    def is_ready(self) -> bool:
        return False


def watched() -> tuple[DiesAtOnce, Watch, Clock]:
    child, clock = DiesAtOnce(), Clock()
    child.spawn()
    watch = Watch(child, signal.SIGTERM, 1.0, clock=clock)
    watch.started(ready=True)
    return child, watch, clock


def delay(watch: Watch) -> float:
    watch.tend()
    wait = watch.next_look()
    assert wait is not None
    return round(wait, 3)


def test_each_death_in_a_row_waits_twice_as_long_up_to_a_limit() -> None:
    _, watch, clock = watched()
    delays: list[float] = []
    for _ in range(9):
        delays.append(delay(watch))
        clock.now += delays[-1]
        assert watch.tend()
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_long_life_forgives_earlier_deaths() -> None:
    _, watch, clock = watched()
    for _ in range(3):
        clock.now += delay(watch)
        watch.tend()
    clock.now += 31.0
    assert delay(watch) == 0.1


def test_nothing_is_started_before_its_time() -> None:
    child, watch, clock = watched()
    watch.tend()
    clock.now += 0.09
    assert not watch.tend()
    assert child.starts == 1


def test_a_start_that_fails_is_tried_again() -> None:
    child, watch, clock = watched()
    child.cannot_start = True
    clock.now += delay(watch)
    assert not watch.tend()
    assert watch.next_look() == pytest.approx(0.2)
    child.cannot_start = False
    clock.now += 0.2
    assert watch.tend()
