"""The plan for more traffic holds in its simulation: nothing lost on the way, no cell over its room."""

from __future__ import annotations

import pytest

from tests.bench.scale import BUSY, FACTORS, LARGEST_SHARE, MEASURED, organisations, place, plan, play, waits

ROOM = 1000 / MEASURED.of("redis")


@pytest.mark.parametrize("factor", FACTORS[:3])
def test_no_cell_is_busier_than_a_plan_may_be_with_one_cell_lost(factor: int) -> None:
    made = plan(MEASURED, factor)
    seen = play(MEASURED, made, customers=100 * min(factor, 100))
    assert seen.mean_busy <= BUSY
    assert seen.most_busy <= BUSY + LARGEST_SHARE, "placed by two choices, the fullest is a window above the mean"
    assert seen.most_busy_after_loss <= BUSY + 2 * LARGEST_SHARE


def test_cutting_and_placing_lose_no_call() -> None:
    shares = organisations(50_000.0, 1_000, ROOM * LARGEST_SHARE)
    load = dict.fromkeys(range(40), 0.0)
    chosen = place(shares, list(load), load)
    assert max(share.per_s for share in shares) <= ROOM * LARGEST_SHARE
    assert sum(share.per_s for share in shares) == pytest.approx(50_000)
    assert sum(load.values()) == pytest.approx(50_000)
    assert len(chosen) == len(shares)


def test_waiting_is_that_of_the_theory() -> None:
    """A server busy half of the time with calls of 1 ms: a mean wait of half a millisecond (M/D/1), a median near 0."""
    median, slowest = waits(500.0, 1.0, 60.0, seed=1)
    assert median < 0.5 < slowest < 8
