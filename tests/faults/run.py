"""One run: an installation under mixed traffic, faults by a seeded schedule, and the three books at the end."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import redis

from tests.faults import ledger
from tests.faults.oracle import INPUT_USD, OUTPUT_USD, RATE, Oracle
from tests.faults.schedule import KINDS, MISCHIEF, SILENCE, Fault, Kind, Schedule
from tests.faults.traffic import Customer, Seen, Traffic
from tests.operating import Installation, installed, until
from tests.provider.behaviour import Behaviour
from tests.provider.server import Provider, running_provider

WON = 100_000_000
REST_S = 45.0
"""Longer than an unclaimed job may wait (15 s here), and than lease and expiry grace together."""
MISBEHAVES = 0.03
"""The share of its calls in which the simulator itself does something wrong."""
LIMITS = {
    # a silent provider of a JSON call is given up after this alone: before a client calls itself hung
    "WONROUTER_TOTAL_TIMEOUT_S": "25",
    "WONROUTER_PLACED_LEASE_S": "15",
    "WONROUTER_FIRST_TOKEN_TIMEOUT_S": "1.0",
    "WONROUTER_IDLE_TIMEOUT_S": "1.0",
    "WONROUTER_CLIENT_BUFFER_BYTES": "262144",
}
MODEL = "openai/gpt-4o"


class WarmInstallation(Installation):
    """Its processes are forks (tests/faults/warm_processes.py)."""

    module = "tests.faults.warm_processes"


@dataclass
class Result:
    """What a run came to."""

    seed: int
    seconds: float
    faults: list[Fault]
    seen: list[Seen]
    calls: int
    rows: int
    won: Any
    differences: list[str]
    given_away: int
    not_delivered: int
    closed_after_s: list[float]
    rest_s: float
    reconciled: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def right(self) -> bool:
        """Nothing lost, doubled, hung or left behind."""
        return not self.differences and not any(self.reconciled.values())

    def recoveries(self) -> dict[str, list[float]]:
        """Per kind of fault: seconds from its end to the first complete answer that was asked for after it."""
        whole = sorted((seen.sent_at, seen.ended_at) for seen in self.seen if seen.outcome == "whole")
        found: defaultdict[str, list[float]] = defaultdict(list)
        for fault in self.faults:
            since = fault.until or fault.at
            ends = [ended for sent, ended in whole if sent >= since]
            if ends:
                found[fault.kind].append(min(ends) - since)
        return found


@contextmanager
def prepared(installation: Installation, provider: Provider, seed: int) -> Iterator[list[Customer]]:
    """Customers of this run, the simulator behind two deployments, and prices that the oracle knows."""
    installation.run("price", "set", MODEL, "--input", str(INPUT_USD), "--output", str(OUTPUT_USD))
    today = datetime.now(ZoneInfo("Asia/Seoul")).date().isoformat()
    installation.run("fx", "set", today, str(RATE), "--insist")
    path = installation.state / "faults.toml"
    path.write_text("\n".join(_table(name, provider.base_url) for name in ("harbour-a", "harbour-b")))
    installation.run("deployments", "apply", str(path))
    customers: list[Customer] = []
    for number in range(4):
        strict = number == 3
        name = f"run-{seed}-{number}-{time.time_ns()}"
        org = installation.organisation(name, won=WON, policy="strict" if strict else "optimistic")
        keys = [installation.key(org, f"k{i}", rpm=1_000_000, concurrency=5_000) for i in range(2)]
        customers.append(Customer(org, keys, strict))
    until(lambda: all(installation.window(c.id)["balance_micro"] == WON * 1_000_000 for c in customers), "credit")
    patient = "WONROUTER_IDLE_TIMEOUT_S" not in installation.environment
    provider.mood = _mood(random.Random(seed), MISCHIEF if patient else [*MISCHIEF, *SILENCE])
    try:
        yield customers
    finally:
        provider.mood = lambda behaviour: behaviour


def _table(name: str, base_url: str) -> str:
    return (
        f'[[deployment]]\nmodel = "{MODEL}"\nprovider = "{name}"\nbase_url = "{base_url}"\n'
        'api_key = "env:WONROUTER_TEST_UPSTREAM_KEY"\nupstream_model = "gpt-4o"\nweight = 1\n'
        'options = { dialect = "openai" }\n'
    )


def _mood(chance: random.Random, mischief: list[Any]) -> Any:
    def mood(behaviour: Behaviour) -> Behaviour:
        if chance.random() >= MISBEHAVES:
            return behaviour
        return msgspec.structs.replace(behaviour, **chance.choice(mischief)(chance, behaviour.tokens))

    return mood


def run_on(
    installation: Installation,
    provider: Provider,
    *,
    kills: int,
    seed: int,
    seconds: float,
    callers: int,
    pause_s: tuple[float, float],
    kinds: list[Kind] = KINDS,
) -> Result:
    """The faults on an installation that runs, and the comparison."""
    began = time.monotonic()
    with prepared(installation, provider, seed) as customers:
        traffic = Traffic(f"{installation.root}/api/v1", customers, callers, seed)
        schedule = Schedule(installation, seed, pause_s, kinds)
        traffic.start()
        until(lambda: len(traffic.book.seen) > callers, "the first answers")
        try:
            schedule.run(kills, seconds, traffic.book.served_since)
        finally:
            book = traffic.finish()
        stopped = time.monotonic()
        differences = _rest(installation, [customer.id for customer in customers])
        rest_s = time.monotonic() - stopped
        calls = provider.log.wait_for(lambda calls: all(call.ended_at for call in calls))
    calls = [call for call in calls if call.tag]
    rows = ledger.charges(installation.up["database_url"], [customer.id for customer in customers])
    oracle = Oracle(calls, book.seen, rows, schedule.done)
    differences += oracle.differences()
    windows = {c.id: installation.window(c.id) for c in customers}
    spent = {org: WON * 1_000_000 - window["balance_micro"] for org, window in windows.items()}
    differences += list(oracle.balances(spent))
    return Result(
        seed=seed, seconds=time.monotonic() - began, faults=schedule.done, seen=book.seen, calls=len(calls),
        rows=len(rows), won=sum(row.won for row in rows), differences=differences, given_away=oracle.given_away,
        not_delivered=oracle.not_delivered, closed_after_s=oracle.closed_after_s, rest_s=rest_s,
        reconciled=installation.ask("reconcile"),
    )  # fmt: skip


def _rest(installation: Installation, orgs: list[str]) -> list[str]:
    """Waits for the end of every job, hold, slot and unsettled event; what is left after the lawful time, in words."""
    client: Any = redis.Redis.from_url(installation.up["redis_url"], decode_responses=True)

    def left() -> dict[str, Any]:
        shown = installation.ask("window")
        found = {name: shown[name] for name in ("open_jobs", "unsettled", "dead")}
        for org in orgs:
            found |= {f"{name} of {org}": shown["organisations"][org][name] for name in ("held_micro", "slots")}
        found["waiting"] = int(client.get("wr:waiting") or 0)
        found["lines"] = len(client.keys("wr:ready*"))
        return {name: number for name, number in found.items() if number}

    deadline = time.monotonic() + REST_S
    while rest := left():
        if time.monotonic() > deadline:
            return [f"left behind: {name} = {number}" for name, number in rest.items()]
        time.sleep(0.3)
    return []


@contextmanager
def ready(api: int, workers: int) -> Iterator[tuple[Installation, Provider]]:
    """An installation of its own, and the simulator."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        options = ("--api", str(api), "--workers", str(workers))
        installation = stack.enter_context(installed(folder / "state", *options, env=LIMITS, kind=WarmInstallation))
        yield installation, stack.enter_context(running_provider())


def quantiles(values: list[float]) -> tuple[float, float]:
    """Median and largest."""
    return statistics.median(values), max(values)


def outcomes(seen: list[Seen]) -> dict[str, Counter[str]]:
    """Per kind of request, how often what came of it."""
    table: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in seen:
        status = f"error {each.status}" if each.outcome == "error" else each.outcome
        table[each.want.kind][status] += 1
    return table
