"""One declaration of a table's columns, which the XLSX and CSV writers, the documents and the console all read.

A column says what it is called, what kind of value it holds and how to read it from a row. Everything else follows
from the kind: whether a spreadsheet gets a number or text, how it is aligned, and whether it is added up.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Generic, Literal, TypeVar

from gateway.csv_file import harmless
from gateway.money import EXACT, exact, won_text
from gateway.wire.ids import SEOUL

Kind = Literal["text", "date", "moment", "count", "won", "exact", "rate"]
"""`text`: written by somebody, so escaped. `date` and `moment` (Seoul time): text, as codes are. `count` and `won`
(whole): numbers. `exact`: a decimal with every digit, as text, because Excel keeps 15 digits. `rate`: the same, with
at least two decimals, as rates are published."""

Value = str | int | Decimal | dt.date | dt.datetime | None
Row = TypeVar("Row")
NUMBERS: frozenset[Kind] = frozenset(("count", "won"))
"""Kinds that a spreadsheet holds as numbers."""
FIGURES: frozenset[Kind] = frozenset(("count", "won", "exact", "rate"))
"""Kinds that are read from the right."""


@dataclass(frozen=True)  # no slots: Python 3.11 cannot make a frozen generic with them
class Column(Generic[Row]):
    """`ko` and `en` are the two header lines, `width` is in characters, `total` adds the column up in a last row.

    Columns of free text, dates and moments cannot be totalled (ValueError).
    """

    ko: str
    en: str
    kind: Kind
    read: Callable[[Row], Value]
    width: int = 12
    total: bool = False

    def __post_init__(self) -> None:
        if self.total and self.kind not in ("count", "won", "exact"):
            raise ValueError(f"a column of {self.kind} has no total: {self.ko}")


def cell(kind: Kind, value: Value) -> str | int:
    """What a file holds for `value`: a number for counts and whole won, text for everything else.

    Raises TypeError for a value that is not of the kind, and ValueError for a moment without a time zone.
    """
    # The two commonest first: matching costs more than writing them.
    if type(value) is int and kind in NUMBERS:
        return value
    if type(value) is str and kind == "text":
        return harmless(value)
    match kind, value:
        case _, None:
            return ""
        case "text", str():
            return harmless(value)
        case (("count" | "won"), int()) if not isinstance(value, bool):
            return value
        case "exact", Decimal() | int() if not isinstance(value, bool):
            return _digits(value)
        case "rate", Decimal():
            whole, _, decimals = _digits(value).partition(".")
            return f"{whole}.{decimals:0<2}"
        case "date", dt.date() if not isinstance(value, dt.datetime):
            return value.isoformat()
        case "moment", dt.datetime():
            if value.tzinfo is None:
                raise ValueError("a moment needs its time zone")
            return value.astimezone(SEOUL).isoformat(" ", "milliseconds")[:23]
        case _:
            raise TypeError(f"{type(value).__name__} in a column of {kind}")


@lru_cache(maxsize=4096)  # a month has few prices and rates; equal numbers have the same text
def _digits(value: Decimal | int) -> str:
    return won_text(exact(value))


class Sums(Generic[Row]):
    """Adds up the columns that want it while rows pass by. Reading `cells` takes the same row once."""

    def __init__(self, columns: Sequence[Column[Row]]) -> None:
        self._columns = columns
        self._totalled = [(place, column) for place, column in enumerate(columns) if column.total]
        # Counts are added as whole numbers, which are exact and several times quicker than decimals.
        self._sums: dict[int, int | Decimal] = dict.fromkeys((place for place, _ in self._totalled), 0)

    @property
    def wanted(self) -> bool:
        """Whether any column is added up."""
        return bool(self._totalled)

    def cells(self, row: Row) -> list[str | int]:
        """The row's cells; its values are added to the sums."""
        values = [column.read(row) for column in self._columns]
        for place, _ in self._totalled:
            value = values[place]
            if value is None:
                continue
            assert isinstance(value, (int, Decimal))
            total = self._sums[place]
            both_whole = isinstance(value, int) and isinstance(total, int)
            self._sums[place] = total + value if both_whole else EXACT.add(Decimal(total), Decimal(value))
        return [cell(column.kind, value) for column, value in zip(self._columns, values, strict=True)]

    def totals(self) -> list[str | int]:
        """The last row: sums under their columns, and in the first column, if it has none of its own, `합계 Total`."""
        row: list[str | int] = ["" for _ in self._columns]
        for place, column in self._totalled:
            total = self._sums[place]
            row[place] = cell(column.kind, total if column.kind == "exact" else int(total))
        if 0 not in self._sums:
            row[0] = "합계 Total"
        return row
