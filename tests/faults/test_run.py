"""A few of the kills that `python -m tests.faults run` does by the hundred."""

from __future__ import annotations

import pytest

from tests.faults.report import report
from tests.faults.run import run_on
from tests.faults.schedule import Kind
from tests.operating import Installation
from tests.provider.server import Provider

_KINDS = [
    Kind("api", "killed", 3), Kind("worker", "killed", 4), Kind("billing", "killed", 3), Kind("redis", "killed", 1),
    Kind("postgres", "killed", 1), Kind("redis pubsub", "cut", 1), Kind("redis normal", "cut", 1),
]  # fmt: skip  # a table


@pytest.mark.timeout(400)  # its callers wait up to 75 s each for an end, before they call it hung
def test_the_three_books_agree_after_kills_of_everything(pair: Installation, fault_provider: Provider) -> None:
    result = run_on(
        pair, fault_provider, kills=12, seed=20261130, seconds=60, callers=12, pause_s=(0.1, 0.6), kinds=_KINDS
    )
    assert result.differences == [], report(result)
    assert result.right, report(result)
    assert sum(fault.how == "killed" for fault in result.faults) > 0
    assert sum(seen.outcome == "whole" for seen in result.seen) > 12
