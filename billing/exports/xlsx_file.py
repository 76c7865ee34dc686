"""Tables as XLSX, row by row, in memory that does not grow with the number of rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import IO, Any, get_args

import xlsxwriter  # pyright: ignore[reportMissingTypeStubs]

from gateway.invoices.table import FIGURES, NUMBERS, Column, Kind, Row, Sums

SHEET_ROWS = 1_048_576
"""Rows that one sheet of the format can hold."""
_CELL_CHARACTERS = 32_767
_PAGE_CHARACTERS = 180
_HEADERS = 2
FIXED_TIME = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - the format knows no zone
"""Stands as the time of creation, so that the same rows give the same bytes."""


def write_xlsx(
    target: IO[bytes],
    columns: Sequence[Column[Row]],
    rows: Iterable[Row],
    *,
    sheet: str,
    totals: bool = True,
    sheet_rows: int = SHEET_ROWS,
) -> int:
    """Write `rows` as a workbook into `target` and return how many there were.

    Two frozen header rows, a filter over the rows, and (`totals`) a last row of sums. Past `sheet_rows` rows the
    table goes on in another sheet with the headers repeated; the sums stand in the last one and cover all of them.
    The same rows give the same bytes. Text longer than a cell may be is cut, with an ellipsis.
    """
    if sheet_rows <= _HEADERS:
        raise ValueError("a sheet needs room for its headers and a row")
    # Numbers are exact integers, so NaN and infinities cannot occur; nothing is guessed from text.
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    book: Any = xlsxwriter.Workbook(target, {**options, "strings_to_numbers": False})
    book.use_zip64()
    book.set_properties({"title": sheet, "created": FIXED_TIME})
    writer = _Sheets(book, columns, sheet, sheet_rows)
    sums = Sums(columns)
    count = 0
    for row in rows:
        writer.write(sums.cells(row))
        count += 1
    writer.close_filter()
    if totals and sums.wanted:
        writer.write(sums.totals(), total=True)
    book.close()
    return count


class _Sheets:
    """Writes cells into one sheet after another of a workbook."""

    def __init__(self, book: Any, columns: Sequence[Column[Any]], name: str, limit: int) -> None:
        self._book, self._columns, self._name, self._limit = book, columns, name, limit
        self._made = 0
        self._formats = _formats(book)
        self._begin()

    def _begin(self) -> None:
        self._made += 1
        title = self._name if self._made == 1 else f"{self._name} ({self._made})"
        self._sheet: Any = self._book.add_worksheet(title)
        for place, column in enumerate(self._columns):
            self._sheet.set_column(place, place, column.width)
            self._sheet.write_string(0, place, column.ko, self._formats["head"])
        for place, column in enumerate(self._columns):
            self._sheet.write_string(1, place, column.en, self._formats["head_en"])
        self._sheet.freeze_panes(_HEADERS, 0)
        self._print_setup()
        self._row = _HEADERS

    def _print_setup(self) -> None:
        self._sheet.set_landscape()
        self._sheet.set_paper(9)  # A4
        # As many pages side by side as keep the print large enough to read.
        self._sheet.fit_to_pages(-(-sum(column.width for column in self._columns) // _PAGE_CHARACTERS), 0)
        self._sheet.repeat_rows(0, _HEADERS - 1)
        self._sheet.set_footer("&C&P / &N")

    def close_filter(self) -> None:
        """Puts the filter over the rows of the current sheet. What is written afterwards stays outside."""
        if self._row > _HEADERS:
            self._sheet.autofilter(1, 0, self._row - 1, len(self._columns) - 1)

    def write(self, cells: Sequence[str | int], *, total: bool = False) -> None:
        if self._row >= self._limit:
            if not total:
                self.close_filter()
            self._begin()
        for place, (column, value) in enumerate(zip(self._columns, cells, strict=True)):
            style = self._formats[f"{column.kind}_total" if total else column.kind]
            if isinstance(value, int):
                self._sheet.write_number(self._row, place, value, style)
            elif value or total:
                self._sheet.write_string(self._row, place, _fitting(value), style)
        self._row += 1


def _fitting(text: str) -> str:
    return text if len(text) <= _CELL_CHARACTERS else text[: _CELL_CHARACTERS - 1] + "…"


def _formats(book: Any) -> dict[str, Any]:
    font = {"font_name": "맑은 고딕", "font_size": 10}
    head = {**font, "bg_color": "#E8EDF3", "align": "center", "valign": "vcenter", "text_wrap": True, "border": 1}
    formats = {
        "head": book.add_format({**head, "bold": True}),
        "head_en": book.add_format({**head, "font_size": 8, "font_color": "#5B6776"}),
    }
    for kind in get_args(Kind):
        look: dict[str, Any] = {**font, "num_format": "#,##0" if kind in NUMBERS else "@"}
        if kind in FIGURES:
            look["align"] = "right"
        formats[kind] = book.add_format(look)
        formats[f"{kind}_total"] = book.add_format({**look, "bold": True, "top": 1, "bg_color": "#F5F7FA"})
    return formats
