"""What more traffic needs, and whether the plan holds: `python -m tests.bench.scale [FIGURES]`.

From the measured cost of a call it works out processes, cells and rows, then plays a minute of the busiest hour against
the plan: organisations of very different sizes, placed by hash, calls that come when they like, and a cell that is lost.
FIGURES is what `python -m tests.bench --json` wrote; without it the costs are those of docs/scale.md. No server is started.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

BASE_PER_S = 10.0
"""Calls a second in the busiest hour that the factors multiply."""
FACTORS = (1, 10, 1_000, 100_000)
STREAMED = 0.5
"""Share of calls that are streams of a hundred tokens."""
BUSY = 0.6
"""Most of a core's time that a plan may use: waiting grows with 1 / (1 - share), and a lost neighbour has to fit in."""
SPARE_CELLS = 0.1
"""Cells beyond the need, so that the organisations of a lost one find room."""
LARGEST_SHARE = 0.1
"""Of a cell: a larger organisation has its credit in several windows."""
MONTH_S = 30 * 86_400
MEAN_OF_PEAK = 0.3
"""The month's mean rate over that of the busiest hour."""


class Costs(msgspec.Struct, frozen=True):
    """Milliseconds of CPU per call, by role, and bytes. See docs/scale.md for how each was measured."""

    json: dict[str, float]
    stream: dict[str, float]
    settled_per_s: float = 5_000.0
    """Usage events that one billing process books a second."""
    row_bytes: float = 1_362.0
    """A usage row with its entries and indexes, on disk."""
    stream_s: float = 5.0
    """How long a stream is open."""
    stream_kb: float = 60.0
    """Memory of an open stream, front end and worker together."""

    def of(self, role: str) -> float:
        """Milliseconds of the role's CPU for a call of the mix."""
        return self.json[role] * (1 - STREAMED) + self.stream[role] * STREAMED


MEASURED = Costs(
    json={"api": 0.40, "worker": 0.61, "billing": 0.13, "redis": 0.26, "postgres": 0.09},
    stream={"api": 2.10, "worker": 4.65, "billing": 0.70, "redis": 0.55, "postgres": 0.35},
)


class Plan(msgspec.Struct, frozen=True):
    """What a rate needs. Cores are of one machine's kind; a cell is one Redis with its front ends and workers."""

    factor: int
    per_s: float
    cells: int
    api: int
    workers: int
    billing: int
    postgres_cores: float
    rows_per_day: float
    gb_per_month: float
    open_streams: float
    streams_gb: float


def plan(costs: Costs, factor: int) -> Plan:
    """Processes and cells for ``factor`` times the base."""
    per_s = BASE_PER_S * factor

    def cores(role: str) -> float:
        return per_s * costs.of(role) / 1000

    needed = math.ceil(cores("redis") / BUSY)
    mean = per_s * MEAN_OF_PEAK
    streams = per_s * STREAMED * costs.stream_s
    return Plan(
        factor=factor,
        per_s=per_s,
        cells=needed if needed == 1 else needed + math.ceil(needed * SPARE_CELLS),
        api=max(2, math.ceil(cores("api") / BUSY)),
        workers=max(2, math.ceil(cores("worker") / BUSY)),
        billing=max(1, math.ceil(per_s / costs.settled_per_s)),
        postgres_cores=cores("postgres"),
        rows_per_day=mean * 86_400,
        gb_per_month=mean * MONTH_S * costs.row_bytes / 1e9,
        open_streams=streams,
        streams_gb=streams * costs.stream_kb / 1e6,
    )


class Share(msgspec.Struct, frozen=True):
    """A window: an organisation, or a part of one that is too large for one cell, with its calls a second."""

    name: str
    per_s: float


def organisations(per_s: float, count: int, largest: float) -> list[Share]:
    """``count`` organisations whose sizes fall like 1/rank, the large ones cut into windows of at most ``largest``."""
    harmonic = sum(1 / rank for rank in range(1, count + 1))
    shares: list[Share] = []
    for rank in range(1, count + 1):
        rate = per_s / rank / harmonic
        parts = math.ceil(rate / largest)
        shares += [Share(f"{rank}/{part}", rate / parts) for part in range(parts)]
    return shares


def place(shares: Iterable[Share], cells: Sequence[int], load: dict[int, float]) -> dict[str, int]:
    """The cell of each window: the emptier of two that its name draws. ``load``, calls a second by cell, is added to."""
    chosen: dict[str, int] = {}
    for share in shares:
        two = random.Random(share.name).sample(cells, min(2, len(cells)))
        cell = min(two, key=lambda cell: load[cell])
        chosen[share.name] = cell
        load[cell] += share.per_s
    return chosen


def waits(per_s: float, service_ms: float, seconds: float, seed: int) -> tuple[float, float]:
    """Median and 99th percentile, in ms, of what a call waits for a server that takes one at a time."""
    clock, free, waited = 0.0, 0.0, []
    chance = random.Random(seed)
    while clock < seconds:
        clock += chance.expovariate(per_s)
        begins = max(clock, free)
        waited.append((begins - clock) * 1000)
        free = begins + service_ms / 1000
    waited.sort()
    return waited[len(waited) // 2], waited[int(len(waited) * 0.99)]


class Played(msgspec.Struct, frozen=True):
    """A minute against the plan: how busy Redis is in the mean and the fullest cell, what calls wait for it, and how
    busy the fullest is when one cell is lost."""

    windows: int
    mean_busy: float
    most_busy: float
    wait_p50_ms: float
    wait_p99_ms: float
    most_busy_after_loss: float


def play(costs: Costs, made: Plan, customers: int) -> Played:
    """Places the customers, lets calls come, and loses the fullest cell: its windows alone move, by the same rule."""
    service = costs.of("redis")
    room = 1000 / service  # calls a second of a Redis that never rests
    shares = organisations(made.per_s, customers, room * LARGEST_SHARE)
    load = dict.fromkeys(range(made.cells), 0.0)
    chosen = place(shares, list(load), load)
    fullest = max(load, key=lambda cell: load[cell])
    p50, p99 = waits(load[fullest], service, min(60.0, 100_000 / load[fullest]), seed=made.factor)
    most = load[fullest] / room
    if len(load) > 1:
        del load[fullest]
        place([share for share in shares if chosen[share.name] == fullest], list(load), load)
    return Played(len(shares), made.per_s / made.cells / room, most, p50, p99, max(load.values()) / room)


def measured(path: Path) -> Costs:
    """The costs of a bench's figures. Raises ``ValueError`` where a scenario is missing."""
    found: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    by_name = {(row["scenario"]["name"], row["scenario"]["concurrency"]): row["cpu_ms"] for row in found["scenarios"]}
    try:
        return Costs(json=by_name["json", 64], stream=by_name["stream, 100 tokens 10 ms apart", 50])
    except KeyError as missing:
        raise ValueError(f"{path} has no scenario {missing}") from missing


def table(costs: Costs) -> str:
    """Everything for each factor, a line of Markdown each."""
    lines = [
        "| times | calls/s | cells | api | workers | billing | PostgreSQL cores | rows/day | GB/month | open streams "
        "| windows | Redis busy: mean, fullest, after a loss | wait for Redis p50, p99 |",
        "|---" * 13 + "|",
    ]
    for factor in FACTORS:
        made = plan(costs, factor)
        seen = play(costs, made, customers=min(100_000, 100 * factor))
        lines.append(
            f"| {factor:,} | {made.per_s:,.0f} | {made.cells:,} | {made.api:,} | {made.workers:,} | {made.billing:,} "
            f"| {made.postgres_cores:,.2f} | {made.rows_per_day:,.0f} | {made.gb_per_month:,.0f} | {made.open_streams:,.0f} "
            f"| {seen.windows:,} | {seen.mean_busy:.0%}, {seen.most_busy:.0%}, {seen.most_busy_after_loss:.0%} "
            f"| {seen.wait_p50_ms:.2f}, {seen.wait_p99_ms:.2f} ms |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measured(Path(sys.argv[1])) if len(sys.argv) > 1 else MEASURED))
