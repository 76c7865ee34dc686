"""Which prepaid lots paid for a month: promotion first, then the oldest, in the order of time.

A lot pays for what was used while it was there: from when it was bought until it lapses. What was used before there was
a lot for it waits for the next one; what is left over at the end is overdrawn and becomes due. The result depends on
nothing but the lots and what was used between their dates, so working it out again gives the same.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from gateway.invoices.totals import ZERO, add_exact
from gateway.money import EXACT

Method = Literal["transfer", "card", "promotion"]


@dataclass(frozen=True, slots=True)
class Lot:
    """Prepaid credit with ``left`` won to use, there from ``since`` until before ``until`` (None: it does not lapse)."""

    id: str
    method: Method
    left: Decimal
    since: dt.datetime
    until: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """Won that were used at or after ``start`` and before the next entry's: between two dates of lots."""

    start: dt.datetime
    won: Decimal


@dataclass(frozen=True, slots=True)
class Consumption:
    """Won taken from each lot, in the order they were first touched, and what no lot paid for."""

    taken: dict[str, Decimal]
    overdrawn: Decimal

    def by_method(self, lots: Iterable[Lot], method: Method) -> Decimal:
        """Won taken from lots of one method."""
        return add_exact(self.taken.get(lot.id, ZERO) for lot in lots if lot.method == method)


def consume(lots: Sequence[Lot], used: Sequence[Used]) -> Consumption:
    """Pays ``used`` (in the order of time) from ``lots``."""
    order = sorted(lots, key=lambda lot: (lot.method != "promotion", lot.since, lot.id))
    left = {lot.id: lot.left for lot in order}
    taken: dict[str, Decimal] = {}
    owed = ZERO
    for step in used:
        owed = EXACT.add(owed, step.won)
        for lot in order:
            if not owed:
                break
            if lot.since > step.start or (lot.until is not None and lot.until <= step.start):
                continue
            part = min(owed, left[lot.id])
            if part > 0:
                left[lot.id] = EXACT.subtract(left[lot.id], part)
                owed = EXACT.subtract(owed, part)
                taken[lot.id] = EXACT.add(taken.get(lot.id, ZERO), part)
    return Consumption(taken, owed)


def dates_of(lots: Iterable[Lot], first: dt.datetime, last: dt.datetime) -> list[dt.datetime]:
    """The moments from ``first`` to ``last`` (included) at which what can be used changes; ``first`` is one of them."""
    moments = {moment for lot in lots for moment in (lot.since, lot.until) if moment is not None}
    return sorted({first, *(moment for moment in moments if first < moment <= last)})
