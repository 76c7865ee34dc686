"""Small tables as CSV: what people typed is never computed by a spreadsheet, and numbers stay numbers."""

from __future__ import annotations

import csv
import datetime as dt
import io
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from gateway.csv_file import to_csv


class Row(msgspec.Struct):
    value: Any


def cell(value: Any) -> str:
    ((only,),) = csv.reader(io.StringIO(to_csv([("value", "값", "Value")], [Row(value)], headings=False), newline=""))
    return only


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@x", " =1", "\t=1", "\n=1", "＝1", "\u3000@x"])
def test_text_that_would_be_computed_is_quoted(text: str) -> None:
    assert cell(text).startswith("'")
    assert cell([text, "b"]).startswith("'")


def test_other_values_stay_what_they_are() -> None:
    values = ("a=b", None, True, -5, Decimal("-0.5"), dt.date(2026, 1, 2), ["a", "b"])
    assert [cell(value) for value in values] == ["a=b", "", "Y", "-5", "-0.5", "2026-01-02", "a; b"]
