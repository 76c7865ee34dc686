"""The bulk-upload sheet: its 59 columns, what goes in and what stays out, and the filling of the user's own form."""

import dataclasses
import io
from decimal import Decimal
from typing import Any

import openpyxl
import pytest
from openpyxl.utils import get_column_letter

from billing.exports.tax_invoice import COLUMNS, FormError, NotUploadableError, Selection, select, upload_files
from gateway.invoices.invoice import Amendment, Invoice
from gateway.invoices.numbering import InvoiceNumber
from gateway.invoices.totals import Funding, VatRule
from tests.gateway.invoices.samples import CUSTOMER, GROSS, invoice, line

SHEET = "엑셀업로드양식"


def row_of(data: bytes, row: int = 7) -> dict[str, Any]:
    sheet = openpyxl.load_workbook(io.BytesIO(data))[SHEET]
    return {get_column_letter(place): sheet.cell(row, place).value for place in range(1, 60)}


def one(which: Invoice) -> bytes:
    return next(upload_files(select([which]).rows))


def test_the_sheet_has_the_59_columns_of_the_form_at_their_letters():
    heads = {get_column_letter(place): column.ko.split("\n", maxsplit=1)[0] for place, column in enumerate(COLUMNS, 1)}
    assert len(heads) == 59 and list(heads)[-1] == "BG"
    expected = {
        "B": "작성일자", "C": "공급자 등록번호", "D": "공급자", "J": "공급자 이메일", "K": "공급받는자 등록번호",
        "M": "공급받는자 상호", "R": "공급받는자 이메일1", "S": "공급받는자 이메일2", "T": "공급가액", "U": "세액",
        "V": "비고", "W": "일자1", "X": "품목1", "AD": "품목비고1", "AE": "일자2", "AM": "일자3", "AU": "일자4",
        "BB": "품목비고4", "BC": "현금", "BD": "수표", "BE": "어음", "BF": "외상미수금", "BG": "영수(01),",
    }  # fmt: skip
    assert {letter: heads[letter] for letter in expected} == expected


def test_a_billed_month_fills_its_row_from_row_7_on():
    data = one(invoice())
    sheet = openpyxl.load_workbook(io.BytesIO(data))[SHEET]
    assert sheet["B6"].value == "작성일자" and sheet.max_row == 7
    row = row_of(data)
    assert (row["A"], row["B"], row["C"], row["K"]) == ("01", "20261130", "1234567891", "9998812349")
    assert (row["M"], row["N"], row["R"]) == ("한빛데이터 주식회사", "김하늘", "billing@customer.example")
    assert (row["T"], row["U"], row["V"]) == (1_145_595, 114_559, "WR-202611-0007")
    assert (row["W"], row["X"], row["AB"], row["AC"]) == ("30", "LLM API 이용료 (2026년 11월)", 1_145_595, 114_559)
    assert (row["BC"], row["BF"], row["BG"]) == (None, 1_260_154, "02")
    assert sheet["K7"].number_format == "@" and isinstance(row["C"], str)


def test_prepaid_by_transfer_is_received_and_mixed_payment_is_still_billed():
    received = row_of(one(invoice(funding=Funding(transfer=GROSS))))
    assert (received["BC"], received["BF"], received["BG"]) == (1_260_154, None, "01")
    half = Decimal(500_000)
    mixed = row_of(one(invoice(funding=Funding(transfer=half, credit=GROSS - half))))
    assert mixed["BG"] == "02" and mixed["BC"] + mixed["BF"] == mixed["T"] + mixed["U"]


def test_what_was_paid_by_card_stays_out_and_the_rest_has_a_floored_tenth():
    card = Decimal("345595.7484567892")
    row = row_of(one(invoice(funding=Funding(transfer=GROSS - card, card=card))))
    assert (row["T"], row["U"]) == (800_000, 80_000)
    chosen = select([invoice(funding=Funding(card=GROSS))])
    assert not chosen.rows and "카드" in chosen.left_out[0].reason


def test_a_promotion_lowers_the_supply():
    row = row_of(one(invoice(funding=Funding(promotion=Decimal(100_000), credit=GROSS - 100_000))))
    assert (row["T"], row["U"]) == (1_045_595, 104_559)


def test_zero_rated_supply_is_kind_02():
    row = row_of(one(invoice(rule=VatRule(zero_rated=True))))
    assert (row["A"], row["U"], row["BF"]) == ("02", 0, 1_145_595)


def test_nothing_is_left_out_without_a_reason():
    amendment = Amendment(of=InvoiceNumber("WR", "202611", 7), code="01", text="")
    chosen = select(
        [
            invoice(draft=True),
            invoice([line("0.5")]),
            dataclasses.replace(invoice(), amendment=amendment),
            dataclasses.replace(invoice(), approval="202611304100020300000a5d"),
            invoice(),
        ]
    )
    assert len(chosen.rows) == 1
    assert [left.reason.split(" ")[0] for left in chosen.left_out] == ["미확정", "공급가액", "수정", "이미"]


def test_an_invoice_without_business_number_or_name_is_refused_with_the_fields_named():
    broken = dataclasses.replace(CUSTOMER, registration="123", representative=" ")
    with pytest.raises(NotUploadableError, match=r"WR-202611-0007: 공급받는자 등록번호, 공급받는자 성명"):
        select([invoice(customer=broken)])


def test_files_hold_a_hundred_invoices_each_and_are_the_same_every_time():
    chosen = select([invoice(sequence=number) for number in range(1, 206)])
    files = list(upload_files(chosen.rows))
    sheets = [openpyxl.load_workbook(io.BytesIO(data), read_only=True)[SHEET] for data in files]
    assert [sheet.max_row - 6 for sheet in sheets] == [100, 100, 5]
    assert files == list(upload_files(chosen.rows))
    assert list(upload_files(Selection((), ()).rows)) == []


def form(**changes: str) -> bytes:
    book = openpyxl.Workbook()
    sheet: Any = book.active
    sheet.title = SHEET
    book.create_sheet("항목설명")["A1"] = "설명"
    for place, column in enumerate(COLUMNS, 1):
        sheet.cell(6, place).value = changes.get(get_column_letter(place), column.ko.replace("\n", " "))
    sheet["A1"] = "전자(세금)계산서 일괄발급 양식"
    sheet["A8"], sheet["M8"] = "01", "지난달 고객"
    saved = io.BytesIO()
    book.save(saved)
    return saved.getvalue()


def test_the_downloaded_form_is_filled_and_otherwise_left_as_it_was():
    rows = select([invoice(customer=dataclasses.replace(CUSTOMER, name="=1+1"))]).rows
    data = next(upload_files(rows, form()))
    book = openpyxl.load_workbook(io.BytesIO(data))
    assert book.sheetnames == [SHEET, "항목설명"] and book[SHEET]["A1"].value == "전자(세금)계산서 일괄발급 양식"
    row = row_of(data)
    assert (row["B"], row["T"], row["BG"], row["M"]) == ("20261130", 1_145_595, "02", "'=1+1")
    assert book[SHEET]["C7"].number_format == "@"
    assert set(row_of(data, 8).values()) == {None}
    assert next(upload_files(rows, form())) == data
    assert (book.properties.created.year, book.properties.modified.year) == (2000, 2000)  # no clock in it


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (b"\xd0\xcf\x11\xe0 old excel", "save the downloaded form as .xlsx"),
        (form(T="세액"), "column 20"),
        (form(BG=""), "column 59"),
    ],
)
def test_a_file_that_is_not_the_form_is_refused_with_the_reason(template: bytes, why: str):
    with pytest.raises(FormError, match=why):
        list(upload_files(select([invoice()]).rows, template))
