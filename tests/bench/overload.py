"""`python -m tests.bench.overload [--idle N] [--seconds S]`: three times what can be done, and many idle connections.

First 64 callers find the capacity, and what a call takes at half of it. Then three times that rate is started by the
clock; callers who are refused do not try again. Figures: how long admitted calls take, how long a refusal takes, and
the memory of the processes before and after. `--idle N` opens N keep-alive connections that have made one request each.
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

from gateway.open_files import raise_limit
from tests.bench.__main__ import _cpus, _mock  # pyright: ignore[reportPrivateUsage]
from tests.bench.client import Slice
from tests.bench.measure import LoadClient, quantile
from tests.bench.processes import rss_kb
from tests.operating import Installation, installed

_ROLES = ("api", "worker", "redis")
_CALLERS = 4_000


def _slice(gateway: Installation, key: str, seconds: float, **more: Any) -> Slice:
    return Slice(gateway.root + "/api/v1", key, count=1_000_000, seconds=seconds, **more)


def _memory(gateway: Installation) -> dict[str, int]:
    return {role: round(rss_kb(gateway.pids(role)) / 1024) for role in _ROLES}


def overload(gateway: Installation, key: str, client: LoadClient, seconds: float, factor: float) -> dict[str, Any]:
    """Milliseconds, megabytes, calls a second."""
    client.run(_slice(gateway, key, 2, concurrency=64))
    closed = client.run(_slice(gateway, key, seconds, concurrency=64))
    capacity = closed.requests / closed.seconds
    calm = client.run(_slice(gateway, key, seconds, concurrency=512, rate=capacity / 2))
    before = _memory(gateway)
    flood = client.run(_slice(gateway, key, seconds * 2, concurrency=_CALLERS, rate=capacity * factor))
    refused = {name: count for name, count in flood.errors.items() if name.startswith("status")}
    return {
        "capacity_per_s": round(capacity),
        "half_p50_ms": quantile(calm.latency_ms, 0.5),
        "half_p99_ms": quantile(calm.latency_ms, 0.99),
        "offered_per_s": round(capacity * factor),
        "admitted_per_s": round(flood.requests / flood.seconds),
        "admitted_p50_ms": quantile(flood.latency_ms, 0.5),
        "admitted_p99_ms": quantile(flood.latency_ms, 0.99),
        "refused": sum(refused.values()),
        "refused_p50_ms": quantile(flood.refused_ms, 0.5),
        "refused_p99_ms": quantile(flood.refused_ms, 0.99),
        "other_errors": {name: count for name, count in flood.errors.items() if name not in refused},
        "mb_before": before,
        "mb_after": _memory(gateway),
    }


async def _open(root: str, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    where = urlsplit(root)
    made: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    request = f"GET /healthz HTTP/1.1\r\nhost: {where.netloc}\r\n\r\n".encode()
    for _ in range(count):
        reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=2048)
        writer.write(request)
        await reader.readuntil(b"}")
        made.append((reader, writer))
    return made


def idle(gateway: Installation, key: str, client: LoadClient, count: int) -> dict[str, Any]:
    """What a call takes without and with so many idle connections on one api process, and their memory."""
    client.run(_slice(gateway, key, 2, concurrency=16))
    alone = client.run(_slice(gateway, key, 5, concurrency=1))

    async def measured() -> dict[str, Any]:
        before = rss_kb(gateway.pids("api"))
        began = time.perf_counter()
        connections = await _open(gateway.root, count)
        opened = time.perf_counter() - began
        after = rss_kb(gateway.pids("api"))
        among = await asyncio.to_thread(client.run, _slice(gateway, key, 5, concurrency=1))
        still = sum(not reader.at_eof() for reader, _ in connections)
        for _, writer in connections:
            writer.close()
        return {
            "idle": count,
            "still_open_after": still,
            "opened_per_s": round(count / opened),
            "kb_per_connection": round((after - before) / count, 2),
            "alone_p50_ms": quantile(alone.latency_ms, 0.5),
            "among_idle_p50_ms": quantile(among.latency_ms, 0.5),
            "alone_p99_ms": quantile(alone.latency_ms, 0.99),
            "among_idle_p99_ms": quantile(among.latency_ms, 0.99),
            "errors": among.errors,
        }

    return uvloop.run(measured())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.overload")
    parser.add_argument("--idle", type=int, default=0, help="only open this many idle connections")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--factor", type=float, default=3.0, help="times capacity")
    options = parser.parse_args()
    raise_limit()
    ours, theirs = _cpus(True)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wonrouter-bench-")))
        provider_url = stack.enter_context(_mock(theirs))
        gateway = stack.enter_context(installed(folder / "state", cpus=ours))
        gateway.deploy("bench", provider_url, {"openai/gpt-4o": "gpt-4o"})
        key = gateway.key(gateway.organisation("bench", won=1_000_000_000), rpm=1_000_000, concurrency=1_000_000)
        client = LoadClient(theirs)
        stack.callback(client.close)
        if options.idle:
            figures = idle(gateway, key, client, options.idle)
        else:
            figures = overload(gateway, key, client, options.seconds, options.factor)
        print("\n".join(f"{name:20} {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
