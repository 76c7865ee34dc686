import datetime as dt
from decimal import Decimal

import pytest

from billing.exports.csv_file import csv_chunks
from billing.exports.settlement import COLUMNS as SETTLEMENT
from gateway.csv_file import harmless
from gateway.invoices.table import Column, Kind, Sums, Value, cell


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\u3000=1",
        "＝1",
        "＋1",
        "－1",
        "＠x",
        '=HYPERLINK("http://x")',
    ],
)
def test_text_that_could_begin_a_formula_is_escaped(text: str):
    assert harmless(text).startswith("'")


@pytest.mark.parametrize("text", ["", "고객상담 챗봇", "a=b", "1-2", "openai/gpt-4o", "'quoted"])
def test_other_text_stays_as_it_is(text: str):
    assert harmless(text) == text


def test_text_stays_on_one_line_and_holds_nothing_that_a_file_cannot():
    assert harmless("a\r\nb\x00c\ud800") == "a b\ufffdc\ufffd"


@pytest.mark.parametrize(
    ("kind", "value", "held"),
    [
        ("count", 1838, 1838),
        ("won", -5, -5),
        ("exact", Decimal("-0.3678675900000000"), "-0.36786759"),
        ("exact", Decimal("123456789012345678.1234567890123456"), "123456789012345678.1234567890123456"),
        ("rate", Decimal("1400.6000"), "1400.60"),
        ("rate", Decimal(1350), "1350.00"),
        ("rate", Decimal("1400.1234"), "1400.1234"),
        ("date", dt.date(2026, 11, 30), "2026-11-30"),
        ("moment", dt.datetime(2026, 11, 30, 15, 0, 0, 1999, tzinfo=dt.UTC), "2026-12-01 00:00:00.001"),
        ("text", None, ""),
    ],
)
def test_each_kind_has_one_form(kind: Kind, value: Value, held: str | int):
    assert cell(kind, value) == held


@pytest.mark.parametrize(
    ("kind", "value"),
    [("count", "1"), ("won", Decimal(1)), ("text", 1), ("count", True), ("exact", True), ("date", "x")],
)
def test_a_value_of_another_kind_is_refused(kind: Kind, value: Value):
    with pytest.raises(TypeError):
        cell(kind, value)


def test_a_moment_without_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        cell("moment", dt.datetime(2026, 11, 30))  # noqa: DTZ001


def test_only_numbers_are_totalled():
    with pytest.raises(ValueError, match="no total"):
        Column[str]("가", "A", "text", lambda row: row, total=True)


PAIRS: tuple[Column[tuple[str, Decimal]], ...] = (
    Column("이름", "Name", "text", lambda row: row[0]),
    Column("금액", "Won", "exact", lambda row: row[1], total=True),
)


def test_a_csv_has_bom_crlf_two_headers_and_exact_sums():
    rows = [('가, "나"', Decimal("0.1000000000000001")), ("=x", Decimal("99999999999999999.2"))]
    data = b"".join(csv_chunks(PAIRS, rows))
    assert (
        data
        == (
            "\ufeff이름,금액\r\nName,Won\r\n"
            '"가, ""나""",0.1000000000000001\r\n'
            "'=x,99999999999999999.2\r\n"
            "합계 Total,99999999999999999.3000000000000001\r\n"
        ).encode()
    )


def test_a_csv_comes_in_pieces_while_rows_are_read():
    rows = (("x" * 100, Decimal(1)) for _ in range(5000))
    pieces = list(csv_chunks(PAIRS, rows))
    assert len(pieces) > 5
    assert b"".join(pieces).decode("utf-8-sig").splitlines()[-1] == "합계 Total,5000"


def test_sums_skip_what_is_unknown():
    columns = (Column[int | None]("수", "N", "count", lambda row: row, total=True),)
    sums = Sums(columns)
    assert [sums.cells(row) for row in (1, None, 2)] == [[1], [""], [2]]
    assert sums.totals() == [3]


def test_the_settlement_has_every_column_that_finance_asks_for():
    assert [column.ko for column in SETTLEMENT][:5] == ["정산월", "고객 ID", "사업자등록번호", "상호", "키"]
    assert len({column.en for column in SETTLEMENT}) == len(SETTLEMENT)
