"""SIGKILL of a settling and closing billing process at seeded moments: `python -m tests.faults settlement [KILLS] [SEED]`.

A child process settles a stream and then closes a month by tasks, over and over; it is killed after a random time drawn
from the seed and started again. The oracle is plain arithmetic over the events that were put into the stream, some of
them twice. At the end every invariant must be 0 and every sum the oracle's.
"""

from __future__ import annotations

import multiprocessing
import random
import time
import uuid
from collections import defaultdict
from decimal import Decimal
from multiprocessing.context import ForkServerProcess
from typing import Any

import sqlalchemy as sa

import gateway.redis
from billing.lock import SettlerLock
from billing.reconcile import reconcile
from billing.settlement import settle, unsettled
from billing.tasks.kinds import SHORT
from billing.tasks.runner import Lane
from billing.window import rebuild
from gateway import tasks
from gateway.accounts import people
from gateway.accounts.change import changing
from gateway.db import connect, migrate
from gateway.invoices import parties
from gateway.money import exact, won_floor
from gateway.wire import keys
from gateway.wire.event import encode_event
from tests.bench.settlement import servers
from tests.billing.books import add_org
from tests.billing.events import job_id, part, usage_event
from tests.billing.invoices.closing import ISSUER, MONTH, PROFILE, at

BATCH = 25
"""Small, so that many transactions lie between two kills."""
EVENTS_PER_KILL = 150
LEASE_S = 0.5


def work(database_url: str, redis_url: str, ready: Any) -> None:
    """The child: settles what there is and does what is asked, until it is killed."""
    engine, redis = connect.engine(database_url), gateway.redis.connect(redis_url)
    lock, lane = SettlerLock(engine), Lane(engine, redis, SHORT, LEASE_S)
    ready.send(True)
    while True:
        with lock.turn(wait=True) as connection:
            assert connection is not None
            settled = settle(redis, connection, BATCH)
        if not settled and not lane.once():
            time.sleep(0.005)


class Run:
    """Stores, organisations, the oracle, and the child that is killed."""

    def __init__(self, owner_url: str, redis_url: str, seed: int) -> None:
        self.owner_url, self.redis_url, self.random = owner_url, redis_url, random.Random(seed)
        self.engine, self.redis = connect.engine(owner_url, statement_timeout_ms=None), gateway.redis.connect(redis_url)
        self.oracle: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.jobs: set[str] = set()
        self.child: ForkServerProcess | None = None
        self.fork = multiprocessing.get_context("forkserver")
        self.fork.set_forkserver_preload(["tests.faults.settlement_kills"])
        with self.engine.begin() as connection:
            parties.set_issuer(connection, ISSUER, "kills")
        self.callers = [self._org() for _ in range(4)]
        with changing(self.engine, self.redis, "kills") as change:
            self.drafter, self.other = (
                people.create(change, f"{name}@kills.example", name, operator=True).id for name in ("a", "b")
            )
        lock = SettlerLock(self.engine)
        with lock.turn(wait=True) as connection:
            assert connection is not None
            rebuild(self.redis, connection, 1_000)
        lock.close()

    def _org(self) -> tuple[str, str]:
        org, key = str(uuid.uuid4()), str(uuid.uuid4())
        with self.engine.begin() as connection:
            add_org(connection, org, key, "postpaid")
            parties.set_profile(connection, org, PROFILE, "kills")
        return org, key

    def feed(self, count: int) -> None:
        """New events of the month, a tenth of them twice."""
        for number in range(count):
            org, key = self.random.choice(self.callers)
            moment = int(at(self.random.randint(1, 31), self.random.randrange(24)).timestamp() * 1000)
            charged = part(self.random.randint(1, 8_000), self.random.randint(1, 2_000))
            event = usage_event(org, key, parts=[charged], job=job_id(moment + number % 1000))
            self.oracle[org] += exact(event.won)
            self.jobs.add(event.job)
            fields: dict[str, Any] = {
                "job": event.job, "org": org, "key": key, "out": "posted", "micro": event.micro, "ep": 1, "hold": 0,
                "ev": encode_event(event), "att": b"",
            }  # fmt: skip
            for _ in range(2 if self.random.random() < 0.1 else 1):
                self.redis.xadd(keys.USAGE, fields)

    def ask(self, person: str, kind: str) -> tasks.Task:
        with changing(self.engine, self.redis, "kills") as change:
            return tasks.ask(change, person, kind, {"month": MONTH})

    def start(self) -> None:
        """A new child, settling. Forked from a server that has imported everything: a start takes milliseconds."""
        mine, theirs = self.fork.Pipe(duplex=False)
        self.child = self.fork.Process(target=work, args=(self.owner_url, self.redis_url, theirs), daemon=True)
        self.child.start()
        theirs.close()
        assert mine.poll(60), "the child never began"
        mine.recv()
        mine.close()

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()
        self.child.join()
        self.child.close()
        self.child = None

    def finished(self, wanted: tasks.Task, kills: int) -> int:
        """Waits for a task, killing on the way as long as kills are left. Returns how many are."""
        while True:
            self.start()
            found = self._watched(wanted, self.random.uniform(0.005, 0.12) if kills else 60)
            self.kill()
            if found.state == "done":
                return kills
            if found.finished:  # its process died too often: a person asks again
                assert "tried" in (found.error or ""), found.error
                wanted = self.ask(found.asked_by, found.kind)
                continue
            assert kills, f"{wanted.kind} never ended"
            kills -= 1

    def _watched(self, wanted: tasks.Task, seconds: float) -> tasks.Task:
        """The task as it stands once it has finished, or after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            with self.engine.connect() as connection:
                found = tasks.show(connection, wanted.id)
            if found.finished or time.monotonic() >= deadline:
                return found
            time.sleep(0.002)

    def settle(self, kills: int) -> None:
        """Feeds and kills; at the end the stream is settled."""
        for _ in range(kills):
            self.feed(EVENTS_PER_KILL)
            self.start()
            time.sleep(self.random.uniform(0.0, 0.15))
            self.kill()
        self.start()
        deadline = time.monotonic() + 120
        while unsettled(self.redis):
            assert time.monotonic() < deadline, f"{unsettled(self.redis)} events were never settled"
            time.sleep(0.01)
        self.kill()

    def verdict(self) -> dict[str, Any]:
        """What the books say against the oracle."""
        with self.engine.connect() as connection:
            rows = connection.execute(
                sa.text("SELECT org, count(*) AS calls, sum(won) AS won FROM usage GROUP BY org")
            ).all()
            invoices = connection.execute(sa.text("SELECT org, supply, exact, state FROM invoice")).all()
        broken = {name: count for name, count in reconcile(self.engine, self.redis).items() if count}
        return {
            "events": len(self.jobs),
            "rows": sum(row.calls for row in rows),
            "sums_equal": {str(row.org): Decimal(row.won) for row in rows} == dict(self.oracle),
            "invoices_equal": {str(row.org): (int(row.supply), Decimal(row.exact)) for row in invoices}
            == {org: (won_floor(won), won) for org, won in self.oracle.items()},
            "states": sorted({row.state for row in invoices}),
            "broken": broken,
        }


def main(kills: int, seed: int) -> dict[str, Any]:
    """Two thirds of the kills fall on settlement, the rest on the close. Returns the verdict."""
    began = time.monotonic()
    with servers() as (postgres, valkey):
        migrate.upgrade(postgres.owner_url)
        run = Run(postgres.owner_url, valkey.url, seed)
        try:
            closing = kills // 3
            run.settle(kills - closing)
            left = closing
            steps = ((run.drafter, "draft"), (run.other, "review"), (run.other, "finalise"), (run.other, "issue"))
            for number, (person, step) in enumerate(steps, 1):
                share = left if number == len(steps) else closing // len(steps)
                left -= share - run.finished(run.ask(person, f"close.{step}"), share)
            found = run.verdict()
        finally:
            if run.child is not None:
                run.kill()
        run.engine.dispose()
    return found | {"kills": kills - left, "seed": seed, "seconds": round(time.monotonic() - began, 1)}


def right(found: dict[str, Any]) -> bool:
    """Whether nothing was lost, doubled or broken."""
    return (
        found["events"] == found["rows"]
        and found["sums_equal"]
        and found["invoices_equal"]
        and found["states"] == ["issued"]
        and not found["broken"]
    )
