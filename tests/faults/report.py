"""A run as Markdown."""

from __future__ import annotations

from collections import Counter

from tests.faults.run import Result, outcomes, quantiles


def report(result: Result) -> str:
    """What was done, what clients saw, the three books, how quickly all was well again."""
    return "\n".join(
        [
            f"## Seed {result.seed}: {'books agree' if result.right else 'BOOKS DISAGREE'}",
            "",
            f"{result.seconds:.0f} s, {_kills(result)} kills and {len(result.faults) - _kills(result)} other faults, "
            f"{len(result.seen)} requests.",
            "",
            *_faults(result),
            "",
            *_clients(result),
            "",
            *_books(result),
            "",
        ]
    )


def _kills(result: Result) -> int:
    return sum(fault.how == "killed" for fault in result.faults)


def _faults(result: Result) -> list[str]:
    recovered = result.recoveries()
    counted = Counter(fault.kind for fault in result.faults)
    lines = ["| fault | times | first complete answer after it: median | longest |", "|---|---|---|---|"]
    for kind, count in sorted(counted.items()):
        found = recovered.get(kind)
        middle, longest = quantiles(found) if found else (0.0, 0.0)
        lines.append(f"| {kind} | {count} | {middle:.2f} s | {longest:.2f} s |")
    return lines


def _clients(result: Result) -> list[str]:
    table = outcomes(result.seen)
    columns = sorted({status for counts in table.values() for status in counts})
    lines = [f"| request | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    for kind, counts in sorted(table.items()):
        lines.append(f"| {kind} | {' | '.join(str(counts[status] or '') for status in columns)} |")
    return lines


def _told(values: list[float]) -> str:
    if not values:
        return "nobody left"
    middle, longest = quantiles(values)
    return f"median {middle:.2f} s, longest {longest:.2f} s, {len(values)} calls"


def _books(result: Result) -> list[str]:
    broken = {name: count for name, count in result.reconciled.items() if count}
    return [
        "| book | |",
        "|---|---|",
        f"| calls that the simulator served | {result.calls} |",
        f"| usage rows | {result.rows} |",
        f"| charged | {result.won} won |",
        f"| output tokens received and not charged | {result.given_away} |",
        f"| output tokens charged that were still on their way | {result.not_delivered} |",
        f"| upstream closed after its client left in mid-stream | {_told(result.closed_after_s)} |",
        f"| until holds, slots, jobs and unsettled events were 0 | {result.rest_s:.1f} s |",
        f"| invariants of `reconcile` that are not 0 | {broken or 'none'} |",
        f"| differences between the books | {len(result.differences) or 'none'} |",
        *(f"| | {difference} |" for difference in result.differences[:50]),
    ]
