"""A small table as CSV that Excel in Korea opens by a double click: UTF-8 with a byte-order mark, CRLF, two headings."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

Columns = Sequence[tuple[str, str, str]]
"""Field, Korean heading, English heading."""

_DANGEROUS = frozenset("=+-@\t\r\n＝＋－＠")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_BREAKS = re.compile("[\t\r\n]+")


def to_csv(columns: Columns, rows: Iterable[msgspec.Struct], *, headings: bool = True) -> str:
    """The rows' fields as text; lists joined by "; "."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    if headings:
        out.write("\ufeff")
        writer.writerow([korean for _, korean, _ in columns])
        writer.writerow([english for _, _, english in columns])
    for row in rows:
        writer.writerow([_cell(getattr(row, field)) for field, _, _ in columns])
    return out.getvalue()


def harmless(text: str) -> str:
    """Free text as a cell: never a formula, one line, and only characters that a spreadsheet file may hold.

    Text that would begin a formula (also after blanks, or in full-width form) gets an apostrophe in front. It is part
    of the cell, so that a sheet saved again as CSV stays harmless.
    """
    # Nearly all text is printable and begins with a letter, and a million rows have twelve million cells of it.
    if not text or (text[0].isalnum() and text.isprintable()):
        return text
    start = text.lstrip(" \u00a0\u3000")
    dangerous = bool(start) and start[0] in _DANGEROUS
    clean = text if text.isprintable() else _BREAKS.sub(" ", _UNPRINTABLE.sub("\ufffd", text))
    return f"'{clean}" if dangerous else clean


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "Y" if value else "N"
        case int() | Decimal():
            return str(value)
        case list() | tuple():
            return harmless("; ".join(map(str, value)))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        case _ if hasattr(value, "isoformat"):
            return str(value.isoformat())
        case _:
            return harmless(str(value))
