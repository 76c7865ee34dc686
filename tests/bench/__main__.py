"""`python -m tests.bench [--quick] [--json FILE] [--streams N [--prompt KB]] [--backlog N] [--only WORD]`"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gateway.open_files import raise_limit
from tests.bench.measure import Bench, Figures, LoadClient
from tests.bench.report import problems, table
from tests.bench.scenarios import closed_loop, half_capacity
from tests.bench.yardstick import Yardstick
from tests.operating import installed

_CREDIT_WON = 1_000_000_000
_NO_LIMIT = 1_000_000


@contextlib.contextmanager
def _mock(cpus: str) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.provider"]
    pinned = ["taskset", "-c", cpus, *command] if cpus else command
    with subprocess.Popen(pinned, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextlib.contextmanager
def bench(api: int = 1, workers: int = 1, pin: bool = True) -> Iterator[Bench]:
    """An installation with a rich organisation, a mock provider and a load client."""
    ours, theirs = _cpus(pin)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wonrouter-bench-")))
        provider_url = stack.enter_context(_mock(theirs))
        arguments = ["--api", str(api), "--workers", str(workers)]
        gateway = stack.enter_context(installed(folder / "state", *arguments, cpus=ours))
        gateway.deploy("bench", provider_url, {"openai/gpt-4o": "gpt-4o"})
        organisation = gateway.organisation("bench", won=_CREDIT_WON)
        key = gateway.key(organisation, rpm=_NO_LIMIT, concurrency=_NO_LIMIT)
        client = LoadClient(theirs)
        stack.callback(client.close)
        yardstick = Yardstick(",".join(map(str, sorted(ours or ()))))
        stack.callback(yardstick.close)
        yield Bench(gateway, key, provider_url, client, yardstick)


def _cpus(pin: bool) -> tuple[set[int] | None, str]:
    """The gateway's CPUs, and those of client and mock: halves, so that the load does not take the gateway's time."""
    available = sorted(os.sched_getaffinity(0)) if pin and hasattr(os, "sched_getaffinity") else []
    if len(available) < 2:
        return None, ""
    middle = len(available) // 2
    return set(available[:middle]), ",".join(map(str, available[middle:]))


def _run(options: argparse.Namespace) -> dict[str, Any]:
    with bench(options.api, options.workers, options.pin) as running:
        if options.streams:
            streams = running.open_streams(options.streams, options.prompt)
            print("\n".join(f"{name:12} {value}" for name, value in streams.items()))
            return {"open_streams": streams}
        if options.backlog:
            backlog = running.backlog(options.backlog)
            print("\n".join(f"{name:16} {value}" for name, value in backlog.items()))
            return {"backlog": backlog}
        idle = running.idle_cpu_ms_per_s()
        rounds = 1 if options.quick else 2
        measured: list[Figures] = []
        for scenario in closed_loop(options.quick):
            if options.only in scenario.name:
                measured.append(running.measure(scenario, rounds))
                print(f"{scenario.name} at {scenario.concurrency}: done", file=sys.stderr, flush=True)
        measured += [running.measure(scenario, rounds) for scenario in half_capacity(measured, options.quick)]
        memory = running.memory()
    print(table(measured))
    print("\nidle, CPU ms per second: " + ", ".join(f"{role} {ms:g}" for role, ms in idle.items()))
    print("resident memory, MB:     " + ", ".join(f"{role} {kb / 1024:.0f}" for role, kb in memory.items()))
    for problem in problems(measured):
        print(f"! {problem}")
    return {"scenarios": msgspec.to_builtins(measured), "idle_cpu_ms_per_s": idle, "rss_kb": memory}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="What the gateway costs; see docs/bench.md"
    )
    parser.add_argument("--quick", action="store_true", help="a third of the time, fewer scenarios")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--streams", type=int, default=0, help="instead: open this many slow streams, report memory")
    parser.add_argument("--prompt", type=int, default=0, help="kilobytes of each prompt of these streams")
    parser.add_argument("--backlog", type=int, default=0, help="instead: let this many usage events gather and drain")
    parser.add_argument("--only", default="", help="only scenarios whose name holds this word")
    parser.add_argument("--api", type=int, default=1, help="api processes")
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
    parser.add_argument("--no-pin", dest="pin", action="store_false", help="let client and gateway share all CPUs")
    options = parser.parse_args()
    raise_limit()
    figures = _run(options)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1))


if __name__ == "__main__":
    main()
