"""Runs slices of load against the gateway and against the mock itself in turn, and counts what each process spent.

The host's speed varies by more than half within minutes, so only what was measured side by side is compared: direct
and through the gateway alternate, in one client process.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import msgspec
import psycopg
import redis

from tests.bench.client import Result, Slice
from tests.bench.processes import cpu_ms, rss_kb
from tests.bench.settlement import fill
from tests.bench.yardstick import Yardstick, slowness
from tests.operating import UPSTREAM_KEY, Installation, until

ROLES = ("api", "worker", "billing", "redis", "postgres")
_USAGE_STREAM = "wr:usage"
_SETTLE_SECONDS = 20.0
OPENED_PER_S = 200
"""Streams: below what a process admits, a burst beyond that is refused."""
BACKLOG_RATE = 30.0
"""Requests a second beside a backlog: a third of what the slowest of our machines answers."""
BACKLOG_REST = 200
"""Events that the requests themselves leave in the stream."""


class Scenario(msgspec.Struct, frozen=True):
    """One row of the report."""

    name: str
    concurrency: int
    stream: bool = False
    behaviour: str = "tokens=16"
    tokens: int = 16
    seconds: float = 3.0
    """Of each slice through the gateway; the direct one takes a third."""
    rate: float = 0.0
    """Requests started per second; 0: as many as the callers can."""
    count: int = 100_000


class Figures(msgspec.Struct):
    """What a scenario came to. Milliseconds, kilobytes, per second."""

    scenario: Scenario
    requests: int
    errors: dict[str, int]
    requests_per_s: float
    direct_per_s: float
    p50_ms: float
    p99_ms: float
    added_p50_ms: float
    added_p99_ms: float
    chunks_per_s: float
    first_added_p50_ms: float
    first_added_p99_ms: float
    cpu_ms: dict[str, float]
    """Per request, by role, settlement included."""
    cpu_ms_total: float
    slowness: float
    """CPU time of the same work, times that of an undisturbed machine, while it ran (``tests.bench.yardstick``)."""
    rss_kb: dict[str, int]


class LoadClient:
    """The load client's process. One slice at a time."""

    def __init__(self, cpus: str = "") -> None:
        command = [sys.executable, "-m", "tests.bench.client"]
        pinned = ["taskset", "-c", cpus, *command] if cpus else command
        self._process = subprocess.Popen(pinned, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def start(self, what: Slice) -> None:
        """Sends the slice; `result` waits for it."""
        stdin = _pipe(self._process.stdin)
        stdin.write(msgspec.json.encode(what) + b"\n")
        stdin.flush()

    def result(self) -> Result:
        """Raises RuntimeError when the client has died."""
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise RuntimeError("the load client ended")
        return msgspec.json.decode(line, type=Result)

    def run(self, what: Slice) -> Result:
        self.start(what)
        return self.result()

    def close(self) -> None:
        _pipe(self._process.stdin).close()
        self._process.wait(10)
        _pipe(self._process.stdout).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe
    return pipe


class Bench:
    """A gateway, a mock and a client, ready to be measured."""

    def __init__(
        self, gateway: Installation, key: str, provider_url: str, client: LoadClient, yardstick: Yardstick
    ) -> None:
        self._yardstick = yardstick
        self._gateway = gateway
        self._key = key
        self._provider_url = provider_url
        self._client = client
        self._redis = redis.Redis.from_url(str(gateway.up["redis_url"]))
        self._pids = {role: gateway.pids(role) for role in ROLES}

    def measure(self, scenario: Scenario, rounds: int = 2) -> Figures:
        """Alternates direct and gateway slices `rounds` times after a short warm-up of both."""
        self._client.run(self._slice(scenario, direct=True, share=0.1))
        self._client.run(self._slice(scenario, direct=False, share=0.2))
        self._settled()
        direct, through, pieces = Result(), Result(), list[float]()
        spent: dict[str, float] = dict.fromkeys(ROLES, 0.0)
        for _ in range(rounds):
            _add(direct, self._client.run(self._slice(scenario, direct=True, share=0.33)))
            before = self._cpu()
            self._yardstick.read()
            _add(through, self._client.run(self._slice(scenario, direct=False)))
            pieces += self._yardstick.read()
            self._settled()
            after = self._cpu()
            spent = {role: spent[role] + after[role] - before[role] for role in ROLES}
        return _figures(scenario, direct, through, spent, self.memory(), slowness(pieces))

    def idle_cpu_ms_per_s(self, seconds: float = 3.0) -> dict[str, float]:
        """What each role spends with nothing to do."""
        before = self._cpu()
        time.sleep(seconds)  # the measured thing is that nothing happens
        after = self._cpu()
        return {role: round((after[role] - before[role]) / seconds, 2) for role in ROLES}

    def open_streams(self, count: int, prompt_kb: int = 0) -> dict[str, float | dict[str, int]]:
        """Opens `count` slow streams, as fast as they are let in, so that all are open together for a while; kilobytes of
        resident memory that each role grew by, per stream. Each prompt has that many kilobytes."""
        self._client.run(self._slice(Scenario("warm-up", 16, stream=True, seconds=1.0), direct=False))
        self._settled()
        what = Slice(
            self._gateway.root + "/api/v1",
            self._key,
            stream=True,
            behaviour=f"tokens={2 + count // OPENED_PER_S} delay=2s",
            tokens=2 + count // OPENED_PER_S,
            prompt_kb=prompt_kb,
            concurrency=count,
            count=count,
            seconds=60 + 2 * count / OPENED_PER_S,
            rate=OPENED_PER_S,
        )
        before = self.memory()
        peak = dict(before)
        self._client.start(what)
        running = _background(self._client.result)
        while running() is None:
            peak = {role: max(peak[role], kb) for role, kb in self.memory().items()}
            time.sleep(0.5)
        result = running()
        assert result
        grown = {f"{role}_kb": round((peak[role] - before[role]) / count, 1) for role in ROLES}
        return {"streams": result.requests, "errors": result.errors, **grown}

    def backlog(self, events: int) -> dict[str, float | dict[str, int]]:
        """What callers notice of a backlog: usage gathers while billing stands still, then drains while they go on.

        Milliseconds of a JSON call, thirty started a second: before, and while the events are booked.
        """
        asking = Slice(
            self._gateway.root + "/api/v1", self._key, concurrency=256, count=100_000, seconds=3.0, rate=BACKLOG_RATE
        )
        self._client.run(asking)
        calm = self._client.run(asking)
        self._settled()
        with psycopg.connect(str(self._gateway.up["database_url"])) as connection:
            callers = [
                (str(org), str(key)) for org, key in connection.execute("SELECT org, id FROM api_key").fetchall()
            ]
        for pid in self._pids["billing"]:
            os.kill(pid, signal.SIGSTOP)
        fill(self._redis, callers, events)
        during, began = Result(), time.perf_counter()
        for pid in self._pids["billing"]:
            os.kill(pid, signal.SIGCONT)
        while int(self._redis.xlen(_USAGE_STREAM)) > BACKLOG_REST:  # pyright: ignore[reportArgumentType]
            _add(during, self._client.run(asking))
        seconds = time.perf_counter() - began
        return {
            "events": events,
            "drained_per_s": round(events / seconds),
            "calm_p50_ms": quantile(calm.latency_ms, 0.5),
            "calm_p99_ms": quantile(calm.latency_ms, 0.99),
            "during_p50_ms": quantile(during.latency_ms, 0.5),
            "during_p99_ms": quantile(during.latency_ms, 0.99),
            "requests_during": during.requests,
            "errors_during": during.errors,
        }

    def load(self, what: Callable[[str, str], Slice]) -> Result:
        """Runs a slice through the gateway, made for its address and key, and waits until all of it is booked."""
        answered = self._client.run(what(self._gateway.root + "/api/v1", self._key))
        self._settled()
        return answered

    def memory(self) -> dict[str, int]:
        """Resident kilobytes by role."""
        return {role: rss_kb(pids) for role, pids in self._pids.items()}

    def _cpu(self) -> dict[str, float]:
        return {role: cpu_ms(pids) for role, pids in self._pids.items()}

    def _settled(self) -> None:
        """Waits until billing has booked everything, so that its work is counted with the requests it belongs to."""
        until(lambda: self._redis.xlen(_USAGE_STREAM) == 0, "the usage stream empty", _SETTLE_SECONDS)

    def _slice(self, scenario: Scenario, *, direct: bool, share: float = 1.0) -> Slice:
        return Slice(
            base_url=self._provider_url if direct else self._gateway.root + "/api/v1",
            key=UPSTREAM_KEY if direct else self._key,
            stream=scenario.stream,
            behaviour=scenario.behaviour,
            tokens=scenario.tokens,
            concurrency=scenario.concurrency,
            count=scenario.count,
            seconds=scenario.seconds * share,
            rate=scenario.rate,
        )


def _background(call: Callable[[], Result]) -> Callable[[], Result | None]:
    """Runs `call` in a thread; the returned function gives its answer, or None while there is none."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)
    pool.shutdown(wait=False)
    return lambda: future.result() if future.done() else None


def _add(total: Result, more: Result) -> None:
    total.requests += more.requests
    total.seconds += more.seconds
    total.chunks += more.chunks
    total.latency_ms += more.latency_ms
    total.first_ms += more.first_ms
    for name, count in more.errors.items():
        total.errors[name] = total.errors.get(name, 0) + count


def quantile(values: list[float], share: float) -> float:
    """The value that `share` of `values` do not pass; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _figures(
    scenario: Scenario, direct: Result, through: Result, spent: dict[str, float], memory: dict[str, int], slow: float
) -> Figures:
    answered = max(1, through.requests)

    def added(of: Callable[[Result], list[float]], share: float) -> float:
        return round(quantile(of(through), share) - quantile(of(direct), share), 2)

    return Figures(
        scenario=scenario,
        requests=through.requests,
        errors=through.errors | {f"direct: {name}": count for name, count in direct.errors.items()},
        requests_per_s=round(through.requests / max(through.seconds, 1e-9), 1),
        direct_per_s=round(direct.requests / max(direct.seconds, 1e-9), 1),
        p50_ms=quantile(through.latency_ms, 0.5),
        p99_ms=quantile(through.latency_ms, 0.99),
        added_p50_ms=added(lambda r: r.latency_ms, 0.5),
        added_p99_ms=added(lambda r: r.latency_ms, 0.99),
        chunks_per_s=round(through.chunks / max(through.seconds, 1e-9)),
        first_added_p50_ms=added(lambda r: r.first_ms, 0.5),
        first_added_p99_ms=added(lambda r: r.first_ms, 0.99),
        cpu_ms={role: round(ms / answered, 3) for role, ms in spent.items()},
        cpu_ms_total=round(sum(spent.values()) / answered, 3),
        slowness=round(slow, 3),
        rss_kb=memory,
    )
