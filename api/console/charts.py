"""Charts as the numbers of an SVG drawing: exact values beside every bar, heights only for the eye."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal

import msgspec

from gateway.accounts.spending import Day
from gateway.accounts.statistics import Group

HEIGHT = 120
STEP = 20
"""Width of a day with its gap, in the drawing's own units."""
WIDTH = 300
"""Of a bar that lies, in the drawing's own units."""
_NOTHING = Day(0, Decimal(0))


class Bar(msgspec.Struct, frozen=True):
    """One day."""

    day: dt.date
    x: int
    y: int
    height: int
    calls: int
    won: Decimal


class Lying(msgspec.Struct, frozen=True):
    """One model, key or application."""

    group: Group
    width: int


def bars(days: Mapping[dt.date, Day], today: dt.date, count: int) -> tuple[list[Bar], Decimal]:
    """The last days, and the round amount at the top of the drawing. A day with a cost is at least visible."""
    shown = [today - dt.timedelta(days=back) for back in reversed(range(count))]
    top = _round_up(max((days[day].won for day in shown if day in days), default=Decimal(0)))
    made: list[Bar] = []
    for place, day in enumerate(shown):
        used = days.get(day, _NOTHING)
        height = max(2, int(used.won * HEIGHT / top)) if used.won else 0
        made.append(Bar(day, place * STEP + 3, HEIGHT - height, height, used.calls, used.won))
    return made, top


def lying(groups: Sequence[Group]) -> list[Lying]:
    """The dearest fills the width."""
    most = max((group.won for group in groups), default=Decimal(0))
    return [Lying(group, max(2, int(group.won * WIDTH / most)) if group.won else 0) for group in groups]


def _round_up(won: Decimal) -> Decimal:
    """The next 1, 2 or 5 times a power of ten."""
    if not won:
        return Decimal(1)
    power = Decimal(1).scaleb(won.adjusted())
    for times in (1, 2, 5, 10):
        if won <= power * times:
            return power * times
    return won.quantize(power, ROUND_CEILING)
