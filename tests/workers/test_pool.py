"""The asyncio pool under Celery, and a plain Celery worker in its place."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from celery.contrib.testing.worker import start_worker

from gateway.wire import keys
from gateway.wire.job import celery_message
from workers.app import call_app
from workers.pool import AsyncPool, adopt

JOB = "0199" + "a" * 28


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[AsyncPool]:
    monkeypatch.setattr(AsyncPool, "open_calls", 2)
    made = AsyncPool(limit=1)
    made.start()
    yield made
    made.stop()


class Calls:
    """Hands coroutines to a pool as Celery would, and keeps what it was told."""

    def __init__(self, pool: AsyncPool) -> None:
        self.pool = pool
        self.accepted: list[int] = []
        self.results: list[Any] = []
        self.running = threading.Semaphore(0)
        self.finished = threading.Semaphore(0)
        self.gate = asyncio.Event()

    def apply(self, number: int) -> None:
        async def work() -> None:
            self.running.release()
            await self.gate.wait()

        def target() -> tuple[int, int, float]:
            adopt(work())
            return 0, number, 0.0

        def callback(result: Any) -> None:
            self.results.append(result)
            self.finished.release()

        self.pool.apply_async(
            target, callback=callback, accept_callback=lambda _pid, _time: self.accepted.append(number)
        )

    def open(self) -> None:
        self.pool._loop.call_soon_threadsafe(self.gate.set)


def test_a_call_counts_as_done_when_its_coroutine_is(pool: AsyncPool) -> None:
    calls = Calls(pool)
    calls.apply(1)
    assert calls.running.acquire(timeout=60)
    assert (calls.accepted, calls.results) == ([1], [])
    calls.open()
    assert calls.finished.acquire(timeout=60)
    assert calls.results == [(0, 1, 0.0)]


def test_beyond_the_limit_nothing_is_accepted_until_a_place_is_free(pool: AsyncPool) -> None:
    calls = Calls(pool)
    for number in (1, 2, 3):
        calls.apply(number)
    assert calls.running.acquire(timeout=60)
    assert calls.running.acquire(timeout=60)
    assert calls.accepted == [1, 2]
    calls.open()
    assert calls.finished.acquire(timeout=60)
    assert calls.finished.acquire(timeout=60)
    assert os.read(pool._wake_read, 1)  # the consumer's loop is woken, and does what follows
    pool._accept_refused()
    assert calls.accepted == [1, 2, 3]
    assert calls.finished.acquire(timeout=60)


def test_a_warm_stop_waits_for_open_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = AsyncPool(limit=1)
    pool.start()
    calls = Calls(pool)
    calls.apply(1)
    assert calls.running.acquire(timeout=60)
    threading.Timer(0.1, calls.open).start()
    pool.stop()
    assert calls.results == [(0, 1, 0.0)]


def test_a_cold_stop_cancels_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = AsyncPool(limit=1)
    pool.start()
    calls = Calls(pool)
    calls.apply(1)
    assert calls.running.acquire(timeout=60)
    pool.terminate()
    assert calls.results == [(0, 1, 0.0)]
    assert not pool._thread.is_alive()


def test_a_plain_celery_worker_accepts_the_scripts_message(redis_url: str) -> None:
    app: Celery = call_app(redis_url)
    ran = threading.Event()
    got: list[str] = []

    def run(job: str) -> None:
        got.append(job)
        ran.set()

    app.task(name=keys.COMPLETE_TASK)(run)
    message = celery_message(JOB)
    with (
        start_worker(app, pool="solo", perform_ping_check=False, loglevel="ERROR", shutdown_timeout=60.0),
        redis.Redis.from_url(redis_url) as client,
    ):
        client.lpush(keys.CALL_QUEUE, message)
        assert ran.wait(60)
        assert got == [JOB]
        assert client.exists("unacked", "unacked_index") == 0
