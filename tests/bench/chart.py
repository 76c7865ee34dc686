"""What a request costs, step by step, as a picture: `python -m tests.bench.chart OUT.svg LABEL=FIGURES.json …`

Each file is what the bench wrote with `--json`; one bar a file, stacked by role, for JSON calls at 64 at once.
"""

import sys
from html import escape
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.measure import ROLES

SCENARIO, AT_ONCE = "json", 64
GOAL_MS = 1.5
COLOURS = {"api": "#2f6fb0", "worker": "#e0892b", "billing": "#5b9a57", "redis": "#b8433f", "postgres": "#7d6aa8"}
WIDTH, BAR, GAP, LEFT, TOP = 760, 24, 12, 260, 56


def cost(figures: Any) -> dict[str, float]:
    """CPU milliseconds of a request by role. Raises KeyError where the file has no such scenario."""
    for row in figures["scenarios"]:
        if row["scenario"]["name"] == SCENARIO and row["scenario"]["concurrency"] == AT_ONCE:
            return row["cpu_ms"]
    raise KeyError(SCENARIO)


def drawn(bars: list[tuple[str, dict[str, float]]]) -> str:
    """The picture as SVG."""
    most = max(sum(spent.values()) for _, spent in bars)
    scale = (WIDTH - LEFT - 70) / most
    height = TOP + len(bars) * (BAR + GAP) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="12" y="22" font-weight="bold">CPU ms for each JSON call, {AT_ONCE} at once, all processes</text>',
    ]
    for i, role in enumerate(ROLES):
        x = LEFT + i * 92
        parts.append(f'<rect x="{x}" y="32" width="11" height="11" fill="{COLOURS[role]}"/>')
        parts.append(f'<text x="{x + 16}" y="42">{role}</text>')
    for i, (label, spent) in enumerate(bars):
        y, x = TOP + i * (BAR + GAP), float(LEFT)
        parts.append(f'<text x="{LEFT - 10}" y="{y + 17}" text-anchor="end">{escape(label)}</text>')
        for role in ROLES:
            width = spent[role] * scale
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{COLOURS[role]}"/>')
            x += width
        parts.append(f'<text x="{x + 6:.1f}" y="{y + 17}">{sum(spent.values()):.2f}</text>')
    goal = LEFT + GOAL_MS * scale
    parts.append(f'<path d="M{goal:.1f} {TOP - 6}V{height - 20}" stroke="#333" stroke-dasharray="4 3"/>')
    parts.append(f'<text x="{goal + 4:.1f}" y="{height - 6}">goal {GOAL_MS}</text></svg>')
    return "\n".join(parts) + "\n"


def main(arguments: list[str]) -> None:
    """Writes the picture."""
    bars: list[tuple[str, dict[str, float]]] = []
    for argument in arguments[1:]:
        label, _, name = argument.rpartition("=")
        bars.append((label, cost(msgspec.json.decode(Path(name).read_bytes()))))
    Path(arguments[0]).write_text(drawn(bars), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
