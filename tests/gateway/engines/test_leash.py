"""No child outlives us, from whichever thread it was started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.engines.leash import EngineError, Leash, stop

STARTER = """
import os, signal, sys, threading
from pathlib import Path
from gateway.engines.leash import Leash

def start():
    # The child keeps the write end of our standard output open: the reader sees its end when the child is gone.
    child = Leash(log=Path(sys.argv[1])).spawn(["sleep", "60"], pass_fds=(1,))

if sys.argv[2] == "main":
    start()
else:
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("thread", ["main", "another"])
def test_a_child_ends_with_its_starter(tmp_path: Path, thread: str) -> None:
    read_end, write_end = os.pipe()
    command = [sys.executable, "-c", STARTER.replace("(1,)", f"({write_end},)"), str(tmp_path / "log"), thread]
    with subprocess.Popen(command, pass_fds=(write_end,)) as starter:
        os.close(write_end)
        assert starter.wait(30) == -signal.SIGKILL
    with os.fdopen(read_end, "rb") as child_is_alive:
        assert child_is_alive.read() == b""  # returns when the last holder of the other end is gone


def test_what_a_child_is_given_on_stdin_reaches_it(tmp_path: Path) -> None:
    child = Leash(log=tmp_path / "log").spawn(["cat"], stdin=b"a configuration\n")
    assert child.wait(30) == 0
    assert (tmp_path / "log").read_text() == "a configuration\n"


def test_a_child_that_ignores_its_signal_is_killed_after_the_patience(tmp_path: Path) -> None:
    child = Leash(log=tmp_path / "log").spawn(["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"])
    while (tmp_path / "log").read_text() != "deaf\n":
        assert child.poll() is None
    stop(child, signal.SIGTERM, patience=0.05)
    assert child.returncode == -signal.SIGKILL


def test_a_program_that_does_not_exist_is_told_plainly(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot start /nowhere/at/all"):
        Leash(log=tmp_path / "log").spawn(["/nowhere/at/all"])


def test_an_overfull_log_moves_aside(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with log.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    Leash(log=log).spawn(["echo", "new"]).wait(30)
    assert log.read_text() == "new\n"
    assert (tmp_path / "x.log.1").exists()
