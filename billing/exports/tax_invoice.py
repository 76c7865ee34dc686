"""The upload sheet for issuing tax invoices in bulk: the 59 columns A to BG of the tax office's own form.

The sheet is named `엑셀업로드양식`, its headings stand in row 6 and the invoices from row 7 on. Where the user brings
the form as downloaded, that very file is filled; otherwise a sheet of the same shape is written. Amounts paid by card
stay out, because the card slip is their tax record, and an amendment has a form of its own.
"""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile

import openpyxl
import xlsxwriter  # pyright: ignore[reportMissingTypeStubs]
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet.worksheet import Worksheet

from billing.exports.fixed_zip import with_fixed_times
from billing.exports.xlsx_file import FIXED_TIME
from gateway.invoices.calendar import written_on
from gateway.invoices.invoice import Invoice, Party
from gateway.invoices.table import Column, cell

SHEET = "엑셀업로드양식"
HEADER_ROW = 6
FIRST_ROW = 7
FILE_ROWS = 100
"""Invoices that one upload may hold."""
_ITEMS = 4


class FormError(ValueError):
    """The given file is not the tax office's form, and why."""


class NotUploadableError(ValueError):
    """An invoice lacks what the form demands; the text names the invoice and the fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One of up to four lines of a tax invoice. Whole won; `day` is the two digits of the day of supply."""

    day: str
    name: str
    supply: int
    vat: int
    quantity: int = 1
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxInvoice:
    """One row of the sheet. `cash` was received in advance, `credit` is still to be paid (whole won, with VAT)."""

    zero_rated: bool
    written: dt.date
    supplier: Party
    customer: Party
    supply: int
    vat: int
    note: str
    items: tuple[Item, ...]
    cash: int
    credit: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An invoice that gets no row, and why (for the person who uploads)."""

    number: str
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Which invoices of a month go into the sheet, and which do not."""

    rows: tuple[TaxInvoice, ...]
    left_out: tuple[LeftOut, ...]
    # rows of amended tax invoices, which are uploaded apart from the others
    amended: tuple[TaxInvoice, ...] = ()


def select(invoices: Iterable[Invoice]) -> Selection:
    """Sorts a month's invoices into rows of the sheet and those that do not belong there.

    Raises NotUploadableError for an invoice that belongs there and lacks something.
    """
    rows: list[TaxInvoice] = []
    left_out: list[LeftOut] = []
    for invoice in invoices:
        reason = _reason_to_leave_out(invoice)
        if reason:
            left_out.append(LeftOut(str(invoice.number or invoice.customer.name), reason))
        else:
            rows.append(row(invoice))
    return Selection(tuple(rows), tuple(left_out))


def _reason_to_leave_out(invoice: Invoice) -> str:
    if invoice.number is None:
        return "미확정 문서 not final"
    if invoice.approval:
        return f"이미 발급됨 already issued as {invoice.approval}"
    if invoice.amendment:
        return "수정 세금계산서는 별도 절차로 발급 amendments have their own form"
    if invoice.totals.whole.supply and not invoice.totals.taxable.supply:
        return "전액 카드 결제 paid by card"
    if not invoice.totals.taxable.supply:
        return "공급가액 0원 nothing supplied"
    return ""


def row(invoice: Invoice) -> TaxInvoice:
    """An invoice as the form has it. Raises NotUploadableError where it lacks something."""
    taxable, written = invoice.totals.taxable, written_on(invoice.month)
    _complete(invoice)
    service = f"LLM API 이용료 ({invoice.month[:4]}년 {int(invoice.month[4:])}월)"
    item = Item(day=f"{written.day:02d}", name=service, supply=taxable.supply, vat=taxable.vat)
    return TaxInvoice(
        zero_rated=invoice.totals.rule.zero_rated,
        written=written,
        supplier=invoice.supplier,
        customer=invoice.customer,
        supply=taxable.supply,
        vat=taxable.vat,
        note=str(invoice.number),
        items=(item,),
        cash=invoice.totals.by_transfer.total,
        credit=invoice.totals.due.total,
    )


def _complete(invoice: Invoice) -> None:
    missing: list[str] = []
    for side, party in (("공급자", invoice.supplier), ("공급받는자", invoice.customer)):
        if not _REGISTRATION.fullmatch(party.registration.replace("-", "")):
            missing.append(f"{side} 등록번호")
        missing += [
            f"{side} {ko}" for ko, value in (("상호", party.name), ("성명", party.representative)) if not value.strip()
        ]
    if missing:
        raise NotUploadableError(f"{invoice.number}: {', '.join(missing)}")


_REGISTRATION = re.compile("[0-9]{10}")
_Column = Column[TaxInvoice]


def _party_columns(side: str, supplier: bool) -> Iterator[_Column]:
    def party(row: TaxInvoice) -> Party:
        return row.supplier if supplier else row.customer

    en = "Supplier" if supplier else "Customer"
    yield _Column(
        f'{side} 등록번호\n("-" 없이 입력)',
        f"{en} business no.",
        "text",
        lambda row: party(row).registration.replace("-", ""),
        14,
    )
    yield _Column(f"{side}\n종사업장번호", f"{en} branch", "text", lambda row: party(row).branch, 11)
    yield _Column(f"{side} 상호", f"{en} company", "text", lambda row: party(row).name, 22)
    yield _Column(f"{side} 성명", f"{en} representative", "text", lambda row: party(row).representative, 12)
    yield _Column(f"{side} 사업장주소", f"{en} address", "text", lambda row: party(row).address, 36)
    yield _Column(f"{side} 업태", f"{en} business type", "text", lambda row: party(row).business_type, 14)
    yield _Column(f"{side} 종목", f"{en} business item", "text", lambda row: party(row).business_item, 20)
    number = "" if supplier else "1"
    yield _Column(f"{side} 이메일{number}", f"{en} e-mail{number}", "text", lambda row: party(row).email, 24)
    if not supplier:
        yield _Column(f"{side} 이메일2", f"{en} e-mail2", "text", lambda row: party(row).email2, 24)


def _item_columns(place: int) -> Iterator[_Column]:
    def item(row: TaxInvoice) -> Item | None:
        return row.items[place] if place < len(row.items) else None

    def text(ko: str, en: str, read: Callable[[Item], str], width: int) -> _Column:
        return _Column(ko, en, "text", lambda row: read(found) if (found := item(row)) else None, width)

    def won(ko: str, en: str, read: Callable[[Item], int]) -> _Column:
        return _Column(ko, en, "won", lambda row: read(found) if (found := item(row)) else None, 13)

    n = place + 1
    yield text(f"일자{n}\n(2자리, 작성년월 제외)", f"Day {n}", lambda line: line.day, 10)
    yield text(f"품목{n}", f"Item {n}", lambda line: line.name, 30)
    yield _Column(f"규격{n}", f"Specification {n}", "text", _empty, 8)
    yield won(f"수량{n}", f"Quantity {n}", lambda line: line.quantity)
    yield won(f"단가{n}", f"Unit price {n}", lambda line: line.supply // line.quantity)
    yield won(f"공급가액{n}", f"Supply {n}", lambda line: line.supply)
    yield won(f"세액{n}", f"VAT {n}", lambda line: line.vat)
    yield text(f"품목비고{n}", f"Item note {n}", lambda line: line.note, 14)


def _empty(_: object) -> None:
    """A column of the form that a monthly bill does not use."""


def _columns() -> Iterator[_Column]:
    yield _Column(
        "전자(세금)계산서 종류\n(01:일반, 02:영세율)", "Kind", "text", lambda row: "02" if row.zero_rated else "01", 14
    )
    yield _Column("작성일자", "Date", "text", lambda row: row.written.strftime("%Y%m%d"), 11)
    yield from _party_columns("공급자", supplier=True)
    yield from _party_columns("공급받는자", supplier=False)
    yield _Column("공급가액", "Supply", "won", lambda row: row.supply, 14)
    yield _Column("세액", "VAT", "won", lambda row: row.vat, 13)
    yield _Column("비고", "Note", "text", lambda row: row.note, 20)
    for place in range(_ITEMS):
        yield from _item_columns(place)
    yield _Column("현금", "Cash", "won", lambda row: row.cash or None, 13)
    yield _Column("수표", "Cheque", "won", _empty, 10)
    yield _Column("어음", "Note payable", "won", _empty, 10)
    yield _Column("외상미수금", "Credit", "won", lambda row: row.credit or None, 13)
    yield _Column("영수(01),\n청구(02)", "Received 01, billed 02", "text", lambda row: "02" if row.credit else "01", 11)


COLUMNS: tuple[_Column, ...] = tuple(_columns())


def upload_files(rows: Sequence[TaxInvoice], template: bytes | None = None, limit: int = FILE_ROWS) -> Iterator[bytes]:
    """The workbooks to upload, each with up to `limit` invoices; none for no rows. The same rows give the same bytes.

    `template` is the tax office's form as the user downloaded it (.xlsx). Raises FormError if it is something else.
    """
    for start in range(0, len(rows), limit):
        part = [[cell(column.kind, column.read(row)) for column in COLUMNS] for row in rows[start : start + limit]]
        yield _written(part) if template is None else _filled(template, part)


def _written(rows: Sequence[Sequence[str | int]]) -> bytes:
    target = io.BytesIO()
    book: Any = xlsxwriter.Workbook(target, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    book.set_properties({"created": FIXED_TIME})
    sheet: Any = book.add_worksheet(SHEET)
    font = {"font_name": "맑은 고딕", "font_size": 10}
    head = book.add_format(
        {
            **font,
            "bold": True,
            "bg_color": "#E8EDF3",
            "border": 1,
            "text_wrap": True,
            "align": "center",
            "valign": "vcenter",
        }
    )
    text, won = book.add_format({**font, "num_format": "@"}), book.add_format({**font, "num_format": "0"})
    sheet.write_string(0, 0, "전자(세금)계산서 일괄발급", book.add_format({**font, "bold": True, "font_size": 14}))
    sheet.write_string(1, 0, f"자료는 {FIRST_ROW}행부터이며 한 파일에 {FILE_ROWS}건까지입니다.", book.add_format(font))
    for place, column in enumerate(COLUMNS):
        sheet.set_column(place, place, column.width, text if column.kind == "text" else won)
        sheet.write_string(HEADER_ROW - 1, place, column.ko, head)
    sheet.set_row(HEADER_ROW - 1, 42)  # headings have up to three lines
    sheet.freeze_panes(HEADER_ROW, 0)
    for number, row in enumerate(rows, FIRST_ROW - 1):
        for place, value in enumerate(row):
            if isinstance(value, int):
                sheet.write_number(number, place, value, won)
            elif value:
                sheet.write_string(number, place, value, text)
    book.close()
    return target.getvalue()


def _filled(template: bytes, rows: Sequence[Sequence[str | int]]) -> bytes:
    book, sheet = _form(template)
    for number in range(FIRST_ROW, max(sheet.max_row, FIRST_ROW - 1) + 1):
        for place in range(1, len(COLUMNS) + 1):
            sheet.cell(number, place).value = None  # rows of an earlier month, or the form's example
    for number, row in enumerate(rows, FIRST_ROW):
        for place, value in enumerate(row, 1):
            if value == "":
                continue
            target = sheet.cell(number, place, value)
            if isinstance(value, str):
                target.data_type = "s"  # or openpyxl takes text with an equals sign for a formula
                target.number_format = "@"
    saved = io.BytesIO()
    book.save(saved)
    return with_fixed_times(saved.getvalue())


def _form(template: bytes) -> tuple[openpyxl.Workbook, Worksheet]:
    try:
        book = openpyxl.load_workbook(io.BytesIO(template))
    except (InvalidFileException, BadZipFile, OSError, KeyError, ValueError) as unreadable:
        raise FormError("not an .xlsx file; save the downloaded form as .xlsx first") from unreadable
    if SHEET not in book.sheetnames:
        raise FormError(f"the workbook has no sheet {SHEET}")
    sheet = book[SHEET]
    for place, column in enumerate(COLUMNS, 1):
        found = _heading(sheet.cell(HEADER_ROW, place).value)
        if not found.startswith(_heading(column.ko)):
            raise FormError(f"column {place} of row {HEADER_ROW} is {found!r}, not {_heading(column.ko)!r}")
    return book, sheet


def _heading(value: object) -> str:
    """A heading without blanks and explanations in brackets, which differ between editions of the form."""
    return re.sub(r"\(.*?\)", "", re.sub(r"\s+", "", str(value or "")).replace("전자(세금)", "전자세금"))
