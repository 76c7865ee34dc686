"""A small table as CSV that Excel in Korea opens by a double click: UTF-8 with a byte-order mark, CRLF, two headings."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

Columns = Sequence[tuple[str, str, str]]
"""Field, Korean heading, English heading."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(columns: Columns, rows: Iterable[msgspec.Struct], *, headings: bool = True) -> str:
    """The rows' fields as text; lists joined by "; ". Text that a spreadsheet would compute gets an apostrophe."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    if headings:
        out.write("\ufeff")
        writer.writerow([korean for _, korean, _ in columns])
        writer.writerow([english for _, _, english in columns])
    for row in rows:
        writer.writerow([_cell(getattr(row, field)) for field, _, _ in columns])
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "Y" if value else "N"
    if isinstance(value, list | tuple):
        return _cell("; ".join(map(str, value)))  # pyright: ignore[reportUnknownArgumentType]
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return "'" + text if text.startswith(_FORMULA) else text
