"""What is done to a running installation, when, and by which seed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import redis

from tests.faults.outages import answers
from tests.operating import Installation, until

KILLED, STOPPED, ENDED, CUT = "killed", "stopped", "ended", "cut"
BACK_WITHIN_S = 30.0
ON_TOP = 0.2
"""The share of faults that do not wait until the one before is survived."""


@dataclass
class Fault:
    """One thing that was done. `until`: when it was over by itself (a process goes on, or is gone with its connections;
    a server answers again)."""

    what: str
    how: str
    at: float
    pid: int = 0
    until: float = 0.0

    @property
    def kind(self) -> str:
        """As the report lists it."""
        return f"{self.what} {self.how}"


@dataclass(frozen=True)
class Kind:
    """One kind of fault and how often it comes, beside the others."""

    what: str
    how: str
    weight: int


KINDS = [
    Kind("api", KILLED, 20), Kind("worker", KILLED, 30), Kind("billing", KILLED, 20), Kind("redis", KILLED, 5),
    Kind("postgres", KILLED, 5), Kind("api", ENDED, 3), Kind("worker", ENDED, 4), Kind("billing", ENDED, 3),
    Kind("api", STOPPED, 3), Kind("worker", STOPPED, 5), Kind("billing", STOPPED, 2), Kind("redis", STOPPED, 2),
    Kind("postgres", STOPPED, 2), Kind("redis pubsub", CUT, 3), Kind("redis normal", CUT, 3), Kind("postgres", CUT, 2),
]  # fmt: skip  # a table
STOPPED_S = {"redis": (0.2, 3.0), "postgres": (0.5, 4.0), "worker": (0.5, 9.0)}
"""How long a process stands still: a worker longer than its lease, now and then."""


class Schedule:
    """Draws faults from the seed and does them, one after the other, until enough have been killed."""

    def __init__(self, installation: Installation, seed: int, pause_s: tuple[float, float], kinds: list[Kind]) -> None:
        self.done: list[Fault] = []
        self._installation = installation
        self._chance = random.Random(seed)
        self._pause_s, self._kinds = pause_s, kinds
        self._timers: list[threading.Timer] = []
        self._up = installation.up

    @property
    def kills(self) -> int:
        """How many processes have got SIGKILL."""
        return sum(fault.how == KILLED for fault in self.done)

    def run(self, kills: int, seconds: float, served_since: Callable[[float], bool]) -> None:
        """Until so many kills are done, or the time is over, and the last fault is survived.

        Most faults wait until the one before is survived (`served_since` its end); the others come on top of it.
        """
        deadline = time.monotonic() + seconds
        while self.kills < kills and time.monotonic() < deadline:
            time.sleep(self._chance.uniform(*self._pause_s))
            if self.done and self._chance.random() >= ON_TOP:
                self._survive(served_since)
            kind = self._chance.choices(self._kinds, [kind.weight for kind in self._kinds])[0]
            fault = self._do(kind)
            if fault is not None:
                self.done.append(fault)
        self.end()
        if self.done:
            self._survive(served_since)  # who asks after the last fault tells how long it was felt

    def _survive(self, served_since: Callable[[float], bool]) -> None:
        since = max(fault.until or fault.at for fault in self.done[-3:])
        patience = time.monotonic() + BACK_WITHIN_S
        while not served_since(since) and time.monotonic() < patience:
            time.sleep(0.02)

    def end(self) -> None:
        """Everything that stands still goes on, everything is there again."""
        for timer in self._timers:
            timer.join()
        self._timers.clear()
        for what in ("redis", "postgres"):
            self._await_server(what)

    def _do(self, kind: Kind) -> Fault | None:
        if kind.how == CUT:
            return self._cut(kind)
        pids = [pid for pid in self._installation.pids(kind.what) if _alive(pid)]
        if not pids:
            return None
        fault = Fault(kind.what, kind.how, time.time(), self._chance.choice(pids))
        number = {KILLED: signal.SIGKILL, STOPPED: signal.SIGSTOP, ENDED: signal.SIGTERM}[kind.how]
        try:
            os.kill(fault.pid, number)
        except ProcessLookupError:
            return None
        if kind.how == STOPPED:
            self._goes_on(fault, self._chance.uniform(*STOPPED_S.get(kind.what, (0.5, 4.0))))
        elif kind.what in ("redis", "postgres"):
            self._await_server(kind.what, fault.pid)
            fault.until = time.time()
        elif kind.how == KILLED:
            until(lambda: not os.path.exists(f"/proc/{fault.pid}"), f"the end of {kind.what} {fault.pid}", pause=0.01)
            fault.until = time.time()
        return fault

    def _goes_on(self, fault: Fault, seconds: float) -> None:
        def go_on() -> None:
            fault.until = time.time()
            try:
                os.kill(fault.pid, signal.SIGCONT)
            except ProcessLookupError:
                return

        timer = threading.Timer(seconds, go_on)
        timer.start()
        self._timers.append(timer)

    def _cut(self, kind: Kind) -> Fault | None:
        fault = Fault(kind.what, kind.how, time.time())
        try:
            if kind.what == "postgres":
                with psycopg.connect(self._up["database_url"], connect_timeout=2) as connection:
                    connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE pid <> pg_backend_pid() AND usename LIKE 'wonrouter%' AND datname = current_database()"
                    )
            else:
                with redis.Redis.from_url(self._up["redis_url"], socket_timeout=2) as client:
                    client.execute_command("CLIENT", "KILL", "TYPE", kind.what.partition(" ")[2])
        except (psycopg.Error, redis.RedisError):
            return None
        return fault

    def _await_server(self, what: str, dead: int = 0) -> None:
        """Until the server answers again; a killed one as a new process."""
        deadline = time.monotonic() + BACK_WITHIN_S
        while not (dead not in self._installation.pids(what) and answers(self._installation, what)):
            assert time.monotonic() < deadline, f"{what} is not back after {BACK_WITHIN_S:g} s"
            time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


MISCHIEF: list[Callable[[random.Random, int], dict[str, Any]]] = [
    lambda r, n: {"error": 500}, lambda r, n: {"error": 503}, lambda r, n: {"error": 429, "retry_after": 0.2},
    lambda r, n: {"cut": 0}, lambda r, n: {"cut": r.randint(1, max(1, n))}, lambda r, n: {"ending": "none"},
    lambda r, n: {"fail_at": r.randint(1, max(1, n))}, lambda r, n: {"usage": False},
    lambda r, n: {"garbage": True}, lambda r, n: {"unreadable": r.randint(0, n)},
]  # fmt: skip  # a table
"""How the simulator misbehaves now and then, by itself."""
SILENCE: list[Callable[[random.Random, int], dict[str, Any]]] = [
    lambda r, n: {"stall": r.randint(0, n)},
    lambda r, n: {"first": 1.6},
]
"""The same, where the installation's patience with silent providers is short."""
