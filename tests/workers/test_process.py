"""The worker as a process of its own: Celery's consumer, the pool, Redis killed under it, signals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from gateway.engines import ValkeyServer
from gateway.wire import keys
from tests.provider.dialects.openai import answer_text, token_text
from tests.provider.server import Provider
from tests.workers.line import SECRET, Line, chat, deployment

pytestmark = pytest.mark.anyio


class Process:
    """A running worker."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of its health server; 0 while it does not listen."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Waits until /readyz says so."""
        deadline = time.monotonic() + seconds
        while self.get("/readyz")[0] != 200:
            assert self.process.poll() is None, "the worker ended"
            assert time.monotonic() < deadline, f"not ready: {self.get('/readyz')}"
            time.sleep(0.05)


@contextmanager
def reserved() -> Iterator[int]:
    """A port that nobody is given while the block lasts; who is told of it can listen there."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextmanager
def running(url: str, provider: Provider, log: Path, **changes: str) -> Iterator[Process]:
    """A worker process, not necessarily ready."""
    with reserved() as port, log.open("wb") as out:
        environment = {
            **os.environ,
            "DATABASE_URL": "postgresql://nobody@localhost/none",
            "REDIS_URL": url,
            "WONROUTER_SECRET": SECRET,
            "WONROUTER_METRICS_PORT": str(port),
            "TEST_DEPLOYMENTS": msgspec.json.encode([deployment(provider.base_url)]).decode(),
            **changes,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.workers.process_under_test"], env=environment, stdout=out, stderr=out
        )
        try:
            yield Process(process, port)
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def redis_port() -> Iterator[int]:
    """For a Redis that comes and goes."""
    with reserved() as port:
        yield port


async def test_the_queue_the_script_pushes_to_is_served_by_a_real_process(
    line: Line, provider: Provider, tmp_path: Path
) -> None:
    with running(line.url, provider, tmp_path / "log") as worker:
        worker.wait_ready()
        jobs = [await line.place(chat("[[mock tokens=5]]", stream=True)) for _ in range(50)]
        for job in jobs:
            assert (await line.ended(job)).content() == answer_text(5)
        assert line.client.exists("unacked", "unacked_index") == 0
        assert "wonrouter_worker_jobs_total" in worker.get("/metrics")[1]
        assert worker.get("/healthz")[0] == 200


async def test_sigterm_lets_open_answers_finish_and_takes_no_new_ones(
    line: Line, provider: Provider, tmp_path: Path
) -> None:
    with running(line.url, provider, tmp_path / "log", TEST_STOP_S="1") as worker:
        worker.wait_ready()
        provider.gate.close()
        job = await line.place(chat("[[mock tokens=6 gate=3]]", stream=True))
        await line.until(lambda: token_text(2) in line.of(job).text)
        worker.process.send_signal(signal.SIGTERM)
        while worker.get("/readyz")[0] == 200:  # noqa: ASYNC110 another process tells nobody
            await asyncio.sleep(0.01)
        for awake in line.client.zrange(keys.AWAKE, 0, -1):  # pyright: ignore[reportGeneralTypeIssues]
            line.client.zadd(keys.AWAKE, {awake: 9e15})  # it is still called on its own channel
        late = await line.place(chat("[[mock tokens=2]]", stream=True))
        provider.gate.open()
        assert (await line.ended(job)).content() == answer_text(6)
        assert worker.process.wait(timeout=60) == 0
        assert not line.of(late).frames  # its message waits for another worker
        assert len(line.events()) == 1


async def test_redis_killed_and_back_needs_no_restart(provider: Provider, tmp_path: Path, redis_port: int) -> None:
    valkey = ValkeyServer(tmp_path / "valkey", log=tmp_path / "valkey.log", password="pw", port=redis_port)
    with running(valkey.url, provider, tmp_path / "log") as worker:  # Redis is not there yet
        valkey.start()
        other = Line(valkey.url)
        await other.open()
        worker.wait_ready()
        first = await other.place(chat("[[mock tokens=2]]", stream=True))
        assert (await other.ended(first)).content() == answer_text(2)
        await other.close()
        assert valkey.process is not None
        valkey.process.kill()
        valkey.process.wait()
        while worker.get("/readyz")[0] == 200:  # noqa: ASYNC110 another process tells nobody that it has noticed
            await asyncio.sleep(0.01)
        valkey.start()
        back = Line(valkey.url)
        await back.listen()
        second = await back.place(chat("[[mock tokens=2]]", stream=True))
        assert (await back.ended(second)).content() == answer_text(2)
        worker.wait_ready()
        await back.close()
    valkey.stop()
