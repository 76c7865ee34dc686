"""Whether memory stays flat: `python -m tests.bench.soak [--rounds N] [--json N] [--streams N] [--tokens N]`.

One installation answers rounds of JSON calls and streams; after each, once everything is settled, it prints what every
role's processes hold. The slope is a straight line through the later half of the rounds, in kilobytes for each 10,000
requests: the first half fills caches, pools and the frames that a worker keeps for half a minute.
"""

import argparse
import sys
from collections.abc import Sequence

from tests.bench.__main__ import bench
from tests.bench.client import Result, Slice
from tests.bench.measure import ROLES

CONCURRENCY = 64
PER = 10_000
"""Requests that a slope is stated for."""


def slope(requests: Sequence[int], kilobytes: Sequence[int]) -> float:
    """Kilobytes for each `PER` requests, by least squares."""
    count = len(requests)
    mean_x, mean_y = sum(requests) / count, sum(kilobytes) / count
    spread = sum((x - mean_x) ** 2 for x in requests)
    together = sum((x - mean_x) * (y - mean_y) for x, y in zip(requests, kilobytes, strict=True))
    return together / spread * PER if spread else 0.0


def main() -> None:
    """Prints a line a round, then the slopes."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description="Memory over many requests")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=int, default=10_000, help="JSON calls of a round")
    parser.add_argument("--streams", type=int, default=1_000, help="streams of a round")
    parser.add_argument("--tokens", type=int, default=16, help="of a stream")
    options = parser.parse_args()
    asked: list[int] = []
    held: list[dict[str, int]] = []
    total, failed = 0, Result()
    with bench() as running:
        print(f"{'requests':>9}  " + "  ".join(f"{role + ' KB':>12}" for role in ROLES), flush=True)
        for _ in range(options.rounds):
            for count, stream in ((options.json, False), (options.streams, True)):
                if not count:
                    continue
                answered = running.load(
                    lambda url, key, count=count, stream=stream: Slice(
                        url, key, stream=stream, behaviour=f"tokens={options.tokens}", tokens=options.tokens,
                        concurrency=CONCURRENCY, count=count, seconds=3_600,
                    )
                )  # fmt: skip
                total += answered.requests
                for name, number in answered.errors.items():
                    failed.errors[name] = failed.errors.get(name, 0) + number
            asked.append(total)
            held.append(running.memory())
            print(f"{total:9}  " + "  ".join(f"{held[-1][role]:12}" for role in ROLES), flush=True)
    half = len(asked) // 2
    slopes = {role: slope(asked[half:], [each[role] for each in held[half:]]) for role in ROLES}
    print(f"KB for each {PER} requests: " + ", ".join(f"{role} {value:.0f}" for role, value in slopes.items()))
    for name, number in failed.errors.items():
        print(f"! {number} x {name}")
    sys.exit(bool(failed.errors))


if __name__ == "__main__":
    main()
