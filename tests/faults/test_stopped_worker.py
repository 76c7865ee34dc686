"""A worker that stands still for ten seconds and then goes on as if nothing had been: the fence must hold."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import Scene
from tests.faults.load import Ask, load
from tests.operating import until
from tests.provider.log import Call

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


def _worker_of(scene: Scene, call: Call) -> int:
    """The worker process that holds the other end of this call's connection."""

    def find() -> int | None:
        sockets = {f"socket:[{inode}]" for inode in _socket_inodes(call.peer_port)}
        for pid in scene.installation.pids("worker"):
            if any(_points_to(link, sockets) for link in Path(f"/proc/{pid}/fd").iterdir()):
                return pid
        return None

    return until(find, f"the worker that holds port {call.peer_port}")


def _socket_inodes(port: int) -> list[str]:
    """Of every socket on that local port: others may have it too, towards other addresses or closed a moment ago."""
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    fields = [line.split() for line in lines]
    return [field[9] for field in fields if field[1].endswith(f":{port:04X}") and field[9] != "0"]


def _points_to(link: Path, targets: set[str]) -> bool:
    try:
        return str(link.readlink()) in targets
    except OSError:
        return False


@pytest.mark.parametrize("stream", [False, True])
def test_stopped_before_the_first_token_another_worker_answers_and_one_is_charged(scene: Scene, stream: bool) -> None:
    scene.provider.gate.close()
    with load(scene.url, scene.key, [Ask(stream, 12, "gate=0")], 1, once=True) as running:
        (first,) = scene.provider.log.wait_for(lambda calls: len(calls) == 1)
        with _stopped(_worker_of(scene, first)):
            scene.provider.log.wait_for(lambda calls: len(calls) == 2, seconds=15)
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
        with _stopped(_worker_of(scene, calls[0])):
            running.wait_for_outcomes(1)
            scene.provider.gate.open()
        (outcome,) = running.finish()
    assert outcome.whole or outcome.error
    books = scene.books([outcome], tokens_behind=12)
    assert books.differences() == []
    assert len(books.rows) == 1
    assert scene.balance_matches(books)
