"""A worker that stands still for ten seconds and then goes on as if nothing had been: the fence must hold."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.conftest import Scene
from tests.faults.holders import worker_of
from tests.faults.load import Ask, load

_STOPPED_SECONDS = 10.0


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """SIGSTOP, and SIGCONT not before ten seconds have passed: the duration itself is the fault under test."""
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + _STOPPED_SECONDS
    try:
        yield
        time.sleep(max(0.0, end - time.monotonic()))
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("stream", [False, True])
def test_stopped_before_the_first_token_another_worker_answers_and_one_is_charged(scene: Scene, stream: bool) -> None:
    scene.provider.gate.close()
    with load(scene.url, scene.key, [Ask(stream, 12, "gate=0")], 1, once=True) as running:
        (first,) = scene.provider.log.wait_for(lambda calls: len(calls) == 1)
        with _stopped(worker_of(scene, first)):
            scene.provider.log.wait_for(lambda calls: len(calls) == 2)
            scene.provider.gate.open()
            (outcome,) = running.finish()
    assert outcome.whole
    books = scene.books([outcome])
    assert books.differences() == []
    (row,) = books.rows
    billed = [attempt["upstream_id"] for attempt in row["attempts"] if attempt["billed"]]
    assert billed == [call.id for call in books.calls if call.id != first.id]
    assert scene.balance_matches(books)


def test_stopped_after_the_first_token_one_explicit_end_and_one_charge(scene: Scene) -> None:
    scene.provider.gate.close()
    with load(scene.url, scene.key, [Ask(True, 12, "gate=5 delay=50ms")], 1, once=True) as running:
        calls = scene.provider.log.wait_for(lambda calls: calls and calls[0].completion_tokens == 5)
        with _stopped(worker_of(scene, calls[0])):
            running.wait_for_outcomes(1)
            scene.provider.gate.open()
        (outcome,) = running.finish()
    assert outcome.whole or outcome.error
    books = scene.books([outcome], tokens_behind=12)
    assert books.differences() == []
    assert len(books.rows) == 1
    assert scene.balance_matches(books)
