"""The bench's figures as text."""

from collections.abc import Iterable

from tests.bench.measure import ROLES, Figures

_COLUMNS = ("scenario", "at once", "req/s", "direct/s", "p50", "p99", "+p50", "+p99", "+first p50", "+first p99")
_COSTS = ("chunks/s", "CPU ms/req", *ROLES, "slow", "undisturbed")


def table(measured: Iterable[Figures]) -> str:
    """One line for each scenario; times in ms, `+` is what the gateway adds to calling the mock directly."""
    rows = [[*_COLUMNS, *_COSTS], *(_row(figures) for figures in measured)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(lines)


def _row(figures: Figures) -> list[str]:
    scenario = figures.scenario
    first = [f"{figures.first_added_p50_ms:.1f}", f"{figures.first_added_p99_ms:.1f}"] if scenario.stream else ["", ""]
    return [
        scenario.name,
        f"{scenario.rate:.0f}/s" if scenario.rate else str(scenario.concurrency),
        f"{figures.requests_per_s:.0f}",
        f"{figures.direct_per_s:.0f}",
        f"{figures.p50_ms:.1f}",
        f"{figures.p99_ms:.1f}",
        f"{figures.added_p50_ms:.1f}",
        f"{figures.added_p99_ms:.1f}",
        *first,
        f"{figures.chunks_per_s:.0f}" if scenario.stream else "",
        f"{figures.cpu_ms_total:.2f}",
        *(f"{figures.cpu_ms[role]:.2f}" for role in ROLES),
        f"{figures.slowness:.2f}x",
        f"{figures.cpu_ms_total / figures.slowness:.2f}",
    ]


def problems(measured: Iterable[Figures]) -> list[str]:
    """What was not answered, or not whole: figures with these beside them say little."""
    return [
        f"{figures.scenario.name} at {figures.scenario.concurrency}: {count} × {name}"
        for figures in measured
        for name, count in figures.errors.items()
    ]
