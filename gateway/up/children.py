"""One child of `wonrouter up`: our own processes, and the watch over any child, servers included."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gateway.engines import EngineError, ports
from gateway.engines.leash import Leash, last_lines

# A child that dies at once each time is tried again after 0.1, 0.2, 0.4 … 10 seconds: quick for an accident, no storm
# for a fault that stays.
FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 10.0
# Alive this long, a child's next death counts as its first.
FORGIVEN_AFTER = 30.0


class Runnable(Protocol):
    """What the watch needs of a child. `PostgresServer` and `ValkeyServer` are such, and `AppProcess`."""

    @property
    def name(self) -> str: ...

    process: subprocess.Popen[bytes] | None

    def spawn(self) -> None: ...

    def is_ready(self) -> bool: ...


@dataclass
class AppProcess:
    """One api, worker or billing process.

    arguments: after `wonrouter`. environment: what this role is told beyond our own environment.
    /readyz and /metrics answer on a port of its own, chosen at each start and told as WONROUTER_METRICS_PORT: behind a
    shared socket nobody could say which process has answered.
    """

    role: str
    number: int
    program: Sequence[str]
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    pass_fds: Sequence[int] = ()
    metrics_port: int | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return f"{self.role} {self.number}"

    def spawn(self) -> None:
        self.metrics_port = ports.free_port()
        told = {**self.environment, "WONROUTER_METRICS_PORT": str(self.metrics_port)}
        # SIGKILL when we die: without servers there is nothing to drain, and what was in flight is settled as after
        # any other kill.
        leash = Leash(log=self.log, on_parent_death=signal.SIGKILL)
        self.process = leash.spawn([*self.program, *self.arguments], env=told, pass_fds=self.pass_fds)

    def is_ready(self) -> bool:
        """Whether /readyz says 200. Raises EngineError if the process has ended."""
        if self.process is None or self.process.poll() is not None:
            code = self.process.returncode if self.process else None
            raise EngineError(f"{self.name} ended during its start (code {code}){last_lines(self.log)}")
        return answers_ready(self.metrics_port or 0)


def answers_ready(port: int) -> bool:
    """Whether http://127.0.0.1:`port`/readyz answers 200 within a second."""
    connection = http.client.HTTPConnection(ports.LOOPBACK, port, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@dataclass
class Watch:
    """Keeps one child alive: notices its death, waits longer each time, starts it again, sees it become ready."""

    child: Runnable
    stop_signal: signal.Signals
    patience: float  # seconds it may take to end after `stop_signal`
    clock: Callable[[], float] = time.monotonic
    ready: bool = False
    _deaths: int = 0
    _started_at: float = 0.0
    _restart_at: float | None = field(default=None)

    @property
    def pid(self) -> int | None:
        return self.child.process.pid if self.child.process else None

    def started(self, *, ready: bool) -> None:
        """Take over a child that runs already."""
        self._started_at = self.clock()
        self.ready = ready

    def tend(self) -> bool:
        """Look after the child once, without waiting. True if its process changed."""
        if self._restart_at is not None:
            return self.clock() >= self._restart_at and self._restart()
        if self.child.process is None or self.child.process.poll() is not None:
            self._schedule(self.child.process.returncode if self.child.process else None)
        elif not self.ready:
            self._look()
        return False

    def next_look(self) -> float | None:
        """Seconds until `tend` has something to do; None if only a signal can change anything."""
        if self._restart_at is not None:
            return max(0.0, self._restart_at - self.clock())
        return None if self.ready else 0.1

    def _look(self) -> None:
        try:
            self.ready = self.child.is_ready()
        except EngineError:  # it has ended: the next look sees that and says so
            return
        if self.ready:
            say(f"{self.child.name} is ready (pid {self.pid})")

    def _schedule(self, code: int | None) -> None:
        if self.clock() - self._started_at > FORGIVEN_AFTER:
            self._deaths = 0
        delay = min(FIRST_BACKOFF * 2**self._deaths, LONGEST_BACKOFF)
        self._deaths += 1
        self._restart_at = self.clock() + delay
        say(f"{self.child.name} ended (pid {self.pid}, code {code}): starting it again in {delay:.1f} s")

    def _restart(self) -> bool:
        self._restart_at = None
        self._started_at = self.clock()
        self.ready = False
        try:
            self.child.spawn()
        except EngineError as error:
            say(str(error))
            self._schedule(None)
            return False
        return True


def say(text: str) -> None:
    """One line to the person at the terminal; stdout is kept for what scripts read."""
    sys.stderr.write(f"wonrouter: {text}\n")
    sys.stderr.flush()
