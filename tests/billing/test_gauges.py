"""What billing reads off the stores for Prometheus."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis as blocking
from prometheus_client import REGISTRY
from sqlalchemy import Engine, text

from billing import gauges
from gateway.wire import keys

ORG = str(uuid.UUID(int=7))


@pytest.fixture(scope="module")
def engine(engines: tuple[Engine, Engine]) -> Engine:
    """As the billing process connects."""
    return engines[1]


@pytest.fixture
def line(redis_url: str) -> Iterator[Any]:
    with blocking.Redis.from_url(redis_url) as client:
        yield client


def value(metric: str, /, **labels: str) -> float:
    found = REGISTRY.get_sample_value(f"wonrouter_{metric}", labels)
    assert found is not None, metric
    return found


def read_all(line: Any, engine: Engine) -> None:
    with engine.connect() as connection:
        gauges.Gauges().read(line, connection)


def test_empty_stores_read_as_nothing_waiting_and_a_closed_window(line: Any, engine: Engine) -> None:
    read_all(line, engine)
    for name in ("window_open", "jobs_waiting", "jobs_waiting_age_seconds", "jobs_open", "leases_lapsed", "usage_dead",
                 "usage_unsettled", "usage_unsettled_age_seconds", "outbox_age_seconds", "tasks_waiting_age_seconds",
                 "alert_delivery_overdue_seconds", "redis_append_only"):  # fmt: skip  # tests' Redis keeps no file
        assert value(name) == 0, name
    assert value("database_bytes") > 0 and value("redis_used_bytes") > 0


def test_what_waits_is_counted_and_aged_by_the_clock_of_redis(line: Any, engine: Engine) -> None:
    seconds, _ = line.time()
    oldest, newer = (f"{(seconds - age) * 1000:012x}7abc8{'0' * 15}" for age in (90, 5))
    line.rpush(keys.READY, ORG, "another")
    line.rpush(keys.ready(ORG), oldest)
    line.rpush(keys.ready("another"), newer)
    line.set(keys.WAITING, 2)
    line.zadd(keys.LEASES, {oldest: (seconds - 1) * 1000, newer: (seconds + 3600) * 1000})
    line.xadd(keys.USAGE, {"job": "x"}, id=f"{(seconds - 300) * 1000}-0")
    line.xadd(keys.DEAD, {"job": "x"})
    with engine.connect() as connection:
        epoch = connection.execute(text("SELECT epoch FROM window_epoch")).scalar_one()
    line.set(keys.EPOCH, str(epoch))
    read_all(line, engine)
    assert value("window_open") == 1
    assert (value("jobs_waiting"), value("jobs_open"), value("leases_lapsed")) == (2, 2, 1)
    assert 90 <= value("jobs_waiting_age_seconds") < 300
    assert 300 <= value("usage_unsettled_age_seconds") < 600
    assert (value("usage_unsettled"), value("usage_dead")) == (1, 1)


def test_the_last_look_at_the_books_is_shown_whoever_made_it(line: Any, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO invariant_run (found, violations) VALUES ('{\"balances\": 3}', 3)"))
    read_all(line, engine)
    assert value("invariant_violations", name="balances") == 3
    assert value("invariants_run_timestamp_seconds") > 1_700_000_000
