"""Settlement and usage workbooks, read back as Excel would."""

import datetime as dt
import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openpyxl
import pytest

from billing.exports.settlement import COLUMNS, SHEET, WITH_COST, Billed, SettlementRow, settlement_rows
from billing.exports.usage_detail import COLUMNS as USAGE
from billing.exports.usage_detail import UsageRow
from billing.exports.xlsx_file import write_xlsx
from gateway.invoices.totals import Funding, add_exact, compute
from tests.gateway.invoices.samples import GROSS, LINES

BILLED = Billed(
    month="202611",
    org="0192f0c1-0000-7000-8000-000000000001",
    registration="9998812349",
    org_name="한빛데이터 주식회사",
    number="WR-202611-0007",
    approval="202611304100020300000a5d",
    status="issued",
)


def rows() -> Iterator[SettlementRow]:
    return settlement_rows(BILLED, compute(LINES, Funding(promotion=Decimal("100.5"), credit=GROSS - Decimal("100.5"))))


def workbook(data: io.BytesIO) -> Any:
    return openpyxl.load_workbook(io.BytesIO(data.getvalue()))


def test_the_settlement_reads_back_with_codes_as_text_and_won_as_numbers():
    target = io.BytesIO()
    assert write_xlsx(target, WITH_COST, rows(), sheet=SHEET) == 5
    sheet = workbook(target)[SHEET]
    heads = {sheet.cell(1, place).value: place for place in range(1, sheet.max_column + 1)}
    assert sheet.cell(2, heads["공급가액"]).value == "Supply (KRW)"
    first = {ko: sheet.cell(3, place) for ko, place in heads.items()}
    assert first["사업자등록번호"].value == "9998812349" and first["정산월"].value == "202611"
    assert first["정확금액"].value == "812345.1234567891"
    assert first["적용환율"].value == "1400.60"
    assert first["공급가액"].value == 812345 and first["공급가액"].number_format == "#,##0"
    assert first["승인번호"].number_format == "@" and first["승인번호"].data_type in ("s", "inlineStr")
    assert first["총이익"].value == str(812345 - Decimal("1.4006") * 51234)
    assert sheet.cell(5, heads["앱(X-Title)"]).value == '\'=HYPERLINK("x")'
    assert sheet.freeze_panes == "A3"
    assert sheet.column_dimensions["B"].width > 30


def test_the_settlement_sums_to_the_invoice_with_the_promotion_on_its_own_row():
    totals = compute(LINES, Funding(promotion=Decimal("100.5"), credit=GROSS - Decimal("100.5")))
    target = io.BytesIO()
    write_xlsx(target, COLUMNS, settlement_rows(BILLED, totals), sheet=SHEET)
    sheet = workbook(target)[SHEET]
    last = {sheet.cell(1, place).value: sheet.cell(sheet.max_row, place).value for place in range(1, len(COLUMNS) + 1)}
    assert last["정산월"] == "합계 Total"
    assert (last["공급가액"], last["세액"], last["합계"]) == (totals.whole.supply, totals.whole.vat, totals.whole.total)
    assert Decimal(last["정확금액"]) == totals.exact == add_exact(row.exact for row in rows())
    assert Decimal(last["단수차이"]) == totals.rounding
    assert sheet.cell(sheet.max_row - 1, 8).value == "프로모션 할인 Promotion"
    assert sheet.auto_filter.ref == f"A2:W{sheet.max_row - 1}"


def test_customers_do_not_see_what_providers_charge():
    hidden = {"원가 USD", "원가 KRW", "총이익"}
    assert hidden.isdisjoint(column.ko for column in COLUMNS)
    assert hidden <= {column.ko for column in WITH_COST}


def test_the_same_rows_give_the_same_workbook():
    first, second = io.BytesIO(), io.BytesIO()
    write_xlsx(first, COLUMNS, rows(), sheet=SHEET)
    write_xlsx(second, COLUMNS, rows(), sheet=SHEET)
    assert first.getvalue() == second.getvalue()
    properties = workbook(first).properties
    assert (properties.created.year, properties.modified.year) == (2000, 2000)  # no clock in it


def usage(number: int, app: str = "") -> UsageRow:
    return UsageRow(
        admitted_at=dt.datetime(2026, 11, 30, 14, 59, 59, 999_000, tzinfo=dt.UTC),
        request=f"chatcmpl-{number:032x}",
        key="운영",
        app=app,
        user="",
        endpoint="chat",
        asked="gpt-4o",
        model="openai/gpt-4o",
        provider="openai",
        outcome="complete",
        estimated=False,
        prompt=1000,
        cached=0,
        cache_write=0,
        completion=500,
        reasoning=0,
        image=0,
        searches=0,
        input_usd=Decimal("2.5"),
        output_usd=Decimal(10),
        tier="base",
        rate=Decimal("1350.0000"),
        exact=Decimal("10.1250000000000000"),
    )


def test_usage_past_one_sheet_goes_on_in_the_next_and_the_sums_cover_all():
    target = io.BytesIO()
    assert write_xlsx(target, USAGE, map(usage, range(7)), sheet="사용내역", sheet_rows=5) == 7
    book = workbook(target)
    assert book.sheetnames == ["사용내역", "사용내역 (2)", "사용내역 (3)"]
    assert [sheet.max_row for sheet in book] == [5, 5, 4]
    assert [sheet.cell(2, 2).value for sheet in book] == ["Request ID"] * 3
    last = book["사용내역 (3)"]
    heads = {last.cell(1, place).value: place for place in range(1, last.max_column + 1)}
    assert last.cell(3, heads["접수시각(서울)"]).value == "2026-11-30 23:59:59.999"
    assert last.cell(4, heads["입력 토큰"]).value == 7000
    assert last.cell(4, heads["정확금액"]).value == "70.875"


def test_sums_get_a_sheet_of_their_own_when_the_last_one_is_full():
    target = io.BytesIO()
    write_xlsx(target, USAGE, map(usage, range(3)), sheet="사용내역", sheet_rows=5)
    book = workbook(target)
    assert [sheet.max_row for sheet in book] == [5, 3]
    assert book["사용내역"].auto_filter.ref.startswith("A2:")
    assert book["사용내역 (2)"].cell(3, 1).value == "합계 Total"


def test_text_longer_than_a_cell_is_cut_and_not_lost_silently():
    target = io.BytesIO()
    write_xlsx(target, USAGE, [usage(1, app="가" * 40_000)], sheet="사용내역")
    text = workbook(target)["사용내역"].cell(3, 5).value
    assert len(text) == 32_767 and text.endswith("…")


def test_a_sheet_without_room_is_refused():
    with pytest.raises(ValueError, match="room"):
        write_xlsx(io.BytesIO(), USAGE, [], sheet="x", sheet_rows=2)
