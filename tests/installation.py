"""A whole running installation, as journeys and fault tests use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from gateway.engines.leash import Leash

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 280.0
"""Longer than `wonrouter up` waits for its processes: it says what is missing."""


class RunningInstallation:
    """`wonrouter up` on a state folder and a free port, with real servers and processes.

    Start it with the constructor, end it with `stop()`; the `wonrouter_installation` fixture does both.
    """

    module: ClassVar[str] = "gateway.cli"
    """What is run as `wonrouter`."""

    def __init__(self, state: Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.state = state
        self._output = state.with_name(state.name + ".output")
        inherited = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
        leash = Leash(log=self._output, on_parent_death=signal.SIGTERM)  # a killed test run leaves nothing behind
        self.process = leash.spawn(
            [sys.executable, "-m", self.module, "up", "--port", "0", "--state", str(state), *options],
            env={**inherited, **(env or {}), "PYTHONPATH": str(ROOT)},
        )
        self._wait_until_up()

    @property
    def up(self) -> dict[str, Any]:
        """What up.json says now: pids change when a child was started again."""
        return json.loads((self.state / "up.json").read_text())

    @property
    def output(self) -> str:
        return self._output.read_text()

    def pid(self, role: str, index: int = 0) -> int:
        return self.up["pids_all"][role][index]

    def kill(self, role: str, index: int = 0, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to one process of `role` and return its pid."""
        pid = self.pid(role, index)
        os.kill(pid, number)
        return pid

    def wait_for_new_pid(self, role: str, old: int, index: int = 0, seconds: float = 30.0) -> int:
        """The pid of the process that took the place of `old`."""
        deadline = time.monotonic() + seconds
        while (pid := self.pid(role, index)) == old:
            if time.monotonic() > deadline:
                raise AssertionError(f"{role} {old} was not started again\n{self.output}")
            time.sleep(0.05)
        return pid

    def command(self, *arguments: str) -> str:
        """Standard output of `wonrouter ARGUMENTS` against this installation. Fails the test if it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", *arguments],
            cwd=ROOT,
            env={**os.environ, "WONROUTER_STATE": str(self.state)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not (self.state / "up.json").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"wonrouter up did not start:\n{self.output}\n{self._logs()}")
            time.sleep(0.05)

    def _logs(self) -> str:
        return "\n".join(f"== {log.name}\n{log.read_text()[-2000:]}" for log in sorted(self.state.glob("logs/*.log")))
