"""`wonrouter restart` against a supervisor whose children are stand-ins."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.up.test_supervisor import ROOT, Up, alive, get


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("restart") / "state", api=2, workers=1)
    up.ready()
    yield up
    up.end()


def restart(state: Path, *what: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway.cli", "restart", *what, "--state", str(state)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False)


def pids(said: dict[str, Any], *roles: str) -> list[int]:
    return [pid for role in roles for pid in said["pids_all"][role]]


def test_every_process_is_replaced_and_never_is_one_missing(running: Up) -> None:
    before = running.described()
    noted = len(running.notes())
    done = restart(running.state)
    assert done.returncode == 0, done.stderr
    after = running.described()
    assert not any(alive(pid) for pid in pids(before, "api", "worker", "billing"))
    assert all(alive(pid) for pid in pids(after, "api", "worker", "billing"))
    assert pids(after, "redis", "postgres") == pids(before, "redis", "postgres")
    assert get(after["base_url"])["pid"] in after["pids_all"]["api"]
    each = [
        "started billing",
        "stopped billing",
        "started worker",
        "stopped worker",
        *["started api", "stopped api"] * 2,
    ]
    assert running.notes()[noted:] == each, "the new one is ready before the old one is asked to go"


def test_one_role_alone(running: Up) -> None:
    before = running.described()
    assert restart(running.state, "worker").returncode == 0
    after = running.described()
    assert after["pids_all"]["worker"] != before["pids_all"]["worker"]
    assert pids(after, "api", "billing") == pids(before, "api", "billing")


def test_a_new_process_that_cannot_start_leaves_the_old_one_in_its_place(running: Up) -> None:
    before = running.described()
    broken = running.state / "break-api"
    broken.touch()
    try:
        done = restart(running.state, "api")
    finally:
        broken.unlink()
    assert done.returncode != 0 and "api is broken" in done.stderr
    assert running.described()["pids_all"] == before["pids_all"]
    assert all(alive(pid) for pid in pids(before, "api"))
    assert restart(running.state, "api").returncode == 0


def test_without_an_installation_it_says_so(tmp_path: Path) -> None:
    done = restart(tmp_path / "nothing")
    assert done.returncode != 0 and "no running installation" in done.stderr
