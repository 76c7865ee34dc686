"""How many usage events one billing process books in a second: `python -m tests.bench.settlement [EVENTS]`.

Own servers with their usual durability, every event new, ten organisations with ten keys each. CPU seconds are those
of this process and of PostgreSQL's, whose machine settlement shares here.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

import gateway.redis
from billing.lock import SettlerLock
from billing.settlement import settle
from gateway.db import connect, migrate
from gateway.engines import PostgresServer, ValkeyServer
from gateway.wire import keys
from gateway.wire.event import encode_event
from tests.billing.books import add_org
from tests.billing.events import part, usage_event

EVENTS = 20_000
ORGANISATIONS = 10
BATCH = 1_000


@contextlib.contextmanager
def servers() -> Iterator[tuple[PostgresServer, ValkeyServer]]:
    """PostgreSQL and Valkey as `wonrouter up` runs them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        postgres = PostgresServer(
            folder / "postgres", log=folder / "postgres.log", superuser_password="s", owner_password="o"
        )
        valkey = ValkeyServer(folder / "redis", log=folder / "redis.log", password="r")
        postgres.start()
        valkey.start()
        try:
            yield postgres, valkey
        finally:
            valkey.stop()
            postgres.stop()


def fill(redis: Any, callers: list[tuple[str, str]], events: int) -> None:
    """Puts new events into the stream, as the workers' scripts do."""
    for start in range(0, events, 1_000):
        pipe = redis.pipeline(transaction=False)
        for _ in range(start, min(start + 1_000, events)):
            org, key = random.choice(callers)
            charged = part(random.randint(1, 8_000), random.randint(1, 2_000))
            event = usage_event(org, key, parts=[charged], title="bench")
            pipe.xadd(
                keys.USAGE,
                {
                    "job": event.job, "org": org, "key": key, "out": "posted", "micro": event.micro, "ep": 1,
                    "hold": 1, "ev": encode_event(event), "att": b"",
                },
            )  # fmt: skip
        pipe.execute()


def cpu_of(pids: list[int]) -> float:
    """User and system seconds of processes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _size(owner: Engine) -> int:
    """Bytes of the database on disk, indexes and all."""
    with owner.connect() as connection:
        return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())


def main(events: int) -> dict[str, Any]:
    """Fills the stream, drains it, and says how fast."""
    with servers() as (postgres, valkey):
        migrate.upgrade(postgres.owner_url, {"wonrouter_billing": "b"})
        owner = connect.engine(postgres.owner_url)
        callers: list[tuple[str, str]] = []
        with owner.begin() as connection:
            for _ in range(ORGANISATIONS):
                org, key = str(uuid.uuid4()), str(uuid.uuid4())
                add_org(connection, org, key)
                callers.append((org, key))
        redis = gateway.redis.connect(valkey.url)
        fill(redis, callers, events)
        lock = SettlerLock(connect.engine(postgres.url("wonrouter_billing", "b"), statement_timeout_ms=None))
        backend = 0
        size = _size(owner)
        began, mine = time.perf_counter(), time.process_time()
        left = events
        while left:
            with lock.turn(wait=True) as connection:
                assert connection is not None
                backend = backend or connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
                left -= settle(redis, connection, BATCH)
        seconds, mine = time.perf_counter() - began, time.process_time() - mine
        theirs = cpu_of([backend])
        lock.close()
        with owner.connect() as connection:
            rows = connection.exec_driver_sql("SELECT count(*) FROM usage").scalar_one()
        grown = _size(owner) - size
        owner.dispose()
        return {
            "events": events,
            "rows": rows,
            "seconds": round(seconds, 2),
            "events_per_second": round(events / seconds),
            "cpu_us_per_event_process": round(mine / events * 1e6),
            "cpu_us_per_event_postgres": round(theirs / events * 1e6),
            "disk_bytes_per_event": round(grown / events),
        }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS), indent=2))
