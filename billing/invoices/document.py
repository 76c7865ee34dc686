"""The content of the invoice document: which blocks, lines and words it has. HTML and PDF only draw it.

Everything here is text already, so that both show the very same figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeVar

from billing.exports.table import FIGURES, NUMBERS, Column, Kind, Value
from billing.invoices.calendar import first_of, last_of, terms_text
from billing.invoices.invoice import REASONS, Invoice, Party, RateUse
from billing.invoices.totals import Amount, Group, Totals, UsageLine, grouped
from billing.invoices.wording import (
    exact_figures,
    figures,
    korean_date,
    printable,
    registration_text,
    won_in_words,
)

NO_APP = "(이름 없음)"
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Field:
    """A labelled value. `strong` is the line that the reader looks for."""

    ko: str
    en: str
    value: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A titled group of fields: one of the two parties, the sums, the payment."""

    ko: str
    en: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """A column of a section: its two headers, alignment and relative width."""

    ko: str
    en: str
    align: Literal["left", "right"]
    width: int


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the document. `foot` rows are sums; the headings are repeated on every page."""

    ko: str
    en: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[str, ...], ...]
    foot: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Everything that is printed, in its order."""

    ko: str
    en: str
    mark: str
    running: str
    facts: tuple[Field, ...]
    supplier: Block
    customer: Block
    headline: Field
    words: str
    sums: Block
    payment: Block
    sections: tuple[Section, ...]
    notes: tuple[str, ...]


def document(invoice: Invoice) -> Document:
    """The content of `invoice`, as a bill (청구) or, with nothing due, as a receipt (영수)."""
    totals = invoice.totals
    receipt = invoice.is_receipt
    ko, en = ("이용요금 영수증", "RECEIPT") if receipt else ("이용요금 청구서", "INVOICE")
    if invoice.amendment:
        ko, en = f"수정 {ko}", f"AMENDED {en}"
    number = str(invoice.number) if invoice.number else "(미확정)"
    shown = totals.whole.total if receipt else totals.due.total
    label = ("영수금액", "Received, VAT included") if receipt else ("청구금액", "Amount due, VAT included")
    return Document(
        ko=ko,
        en=en,
        mark="초안 DRAFT" if invoice.state in ("draft", "reviewed") else "",
        running=f"{ko} {number} · {printable(invoice.customer.name)} · {_month_text(invoice.month)}",
        facts=_facts(invoice, number),
        supplier=_party("공급자", "Supplier", invoice.supplier),
        customer=_party("공급받는자", "Customer", invoice.customer),
        headline=Field(*label, f"₩{figures(shown)}", strong=True),
        words=won_in_words(shown),
        sums=_sums(totals),
        payment=_payment(invoice),
        sections=_sections(invoice),
        notes=_notes(invoice),
    )


def _month_text(month: str) -> str:
    return f"{month[:4]}년 {int(month[4:])}월"


def _facts(invoice: Invoice, number: str) -> tuple[Field, ...]:
    facts = [
        Field("문서번호", "Number", number),
        Field("작성일자", "Date", korean_date(invoice.written)),
        Field("발행일자", "Issued", korean_date(invoice.issued)),
        Field("이용기간", "Period", f"{first_of(invoice.month)} ~ {last_of(invoice.month)}"),
    ]
    if not invoice.is_receipt:
        facts.append(Field("납부기한", "Due", korean_date(invoice.due), strong=True))
    return tuple(facts)


def _party(ko: str, en: str, party: Party) -> Block:
    registration = registration_text(party.registration)
    if party.branch:
        registration = f"{registration} (종사업장 {party.branch})"
    emails = ", ".join(email for email in (party.email, party.email2) if email)
    fields = (
        Field("등록번호", "Business no.", registration, strong=True),
        Field("상호", "Company", printable(party.name), strong=True),
        Field("대표자", "Representative", printable(party.representative)),
        Field("주소", "Address", printable(party.address)),
        Field("업태", "Business type", printable(party.business_type)),
        Field("종목", "Business item", printable(party.business_item)),
        Field("이메일", "E-mail", printable(emails)),
    )
    return Block(ko, en, fields)


def _sums(totals: Totals) -> Block:
    rate = "영세율 0%" if totals.rule.zero_rated else "10%"
    fields = [Field("이용요금", "Usage", figures(totals.usage.supply))]
    if totals.promotion_exact:
        fields.append(Field("프로모션 할인", "Promotion", figures(totals.promotion.supply)))
    fields += [
        Field("공급가액", "Supply amount", figures(totals.whole.supply)),
        Field(f"부가가치세 ({rate})", "VAT", figures(totals.whole.vat)),
        Field("합계금액", "Total", figures(totals.whole.total), strong=True),
    ]
    for ko, en, paid in (
        ("선불 사용 (계좌이체)", "Prepaid by transfer", totals.by_transfer),
        ("선불 사용 (카드)", "Prepaid by card", totals.by_card),
    ):
        if paid.total:
            fields.append(Field(ko, en, figures(-paid.total)))
    fields.append(Field("청구금액", "Amount due", figures(totals.due.total), strong=True))
    return Block("금액 (원)", "Amounts in KRW", tuple(fields))


def _payment(invoice: Invoice) -> Block:
    fields: list[Field] = []
    if invoice.is_receipt:
        fields.append(Field("결제", "Payment", "선불 충전금으로 영수함 (납부하실 금액 없음)", strong=True))
    else:
        if invoice.terms:
            ko, en = terms_text(invoice.terms)
            fields.append(Field("결제조건", "Terms", f"{ko} ({en})"))
        fields.append(Field("납부기한", "Due", korean_date(invoice.due), strong=True))
        if invoice.account:
            account = invoice.account
            fields.append(Field("입금계좌", "Pay to", printable(f"{account.bank} {account.number}"), strong=True))
            fields.append(Field("예금주", "Holder", printable(account.holder)))
    totals = invoice.totals
    fields.append(Field("정확금액", "Exact charge", exact_figures(totals.exact)))
    fields.append(Field("단수차이", "Rounding", f"{exact_figures(totals.rounding)} (원 미만 절사)"))
    if invoice.approval:
        fields.append(Field("승인번호", "Tax approval no.", invoice.approval))
    if invoice.amendment:
        amendment = invoice.amendment
        reason = f"{amendment.code} {REASONS[amendment.code]}"
        fields.append(Field("수정사유", "Amendment", f"{amendment.of} · {reason} · {printable(amendment.text)}"))
    return Block("결제 및 산출", "Payment and basis", tuple(fields))


def _notes(invoice: Invoice) -> tuple[str, ...]:
    rule = invoice.totals.rule
    vat = "금액에 부가가치세가 포함되어 있습니다" if rule.inclusive else "부가가치세는 문서 단위로 한 번 계산합니다"
    notes = [
        "본 문서는 세금계산서가 아니며, 전자세금계산서는 별도로 발급됩니다. This document is not a tax invoice.",
        "요금 = 토큰 수 × 단가(USD/1M) × 적용환율. 호출별로는 반올림하지 않고 월 합계에서 원 미만을 절사합니다.",
        f"{vat}.",
    ]
    if invoice.totals.by_card.total:
        notes.append("카드로 결제하신 금액은 카드 매출전표가 증빙이며 세금계산서를 발급하지 않습니다.")
    if invoice.note:
        notes.append(printable(invoice.note))
    return tuple(notes)


_WON: tuple[Column[Group], ...] = (
    Column("호출수", "Calls", "count", lambda group: group.calls, 13),
    Column("입력 토큰", "Input", "count", lambda group: group.prompt, 20),
    Column("(캐시)", "Cached", "count", lambda group: group.cached, 18),
    Column("출력 토큰", "Output", "count", lambda group: group.completion, 18),
    Column("공급가액", "Supply", "won", lambda group: group.amount.supply, 19),
    Column("세액", "VAT", "won", lambda group: group.amount.vat, 16),
    Column("합계", "Total", "won", lambda group: group.amount.total, 20),
)

_RATES: tuple[Column[RateUse], ...] = (
    Column("적용 기간", "Applied", "text", lambda use: f"{use.first} ~ {use.last}", 34),
    Column("환율 (원/USD)", "KRW per USD", "rate", lambda use: use.rate, 22),
    Column("정확금액 (원)", "Exact charge", "exact", lambda use: use.exact, 40),
    Column("출처", "Source", "text", lambda use: use.source, 60),
)


def _label(ko: str, en: str, place: int, width: int) -> Column[Group]:
    return Column(ko, en, "text", lambda group: group.labels[place], width)


def _key_name(usage: UsageLine) -> str:
    return usage.key_name or usage.key


def _sections(invoice: Invoice) -> tuple[Section, ...]:
    totals = invoice.totals

    def table(
        ko: str, en: str, labels: tuple[Column[Group], ...], of: Callable[[UsageLine], tuple[str, ...]], *, net: bool
    ) -> Section:
        foot = [_foot("이용요금 합계", totals, totals.usage, len(labels))]
        if net and totals.promotion_exact:
            foot.append(_foot("프로모션 할인", totals, totals.promotion, len(labels), blank=True))
            foot.append(_foot("합계", totals, totals.whole, len(labels), blank=True))
        return section(ko, en, (*labels, *_WON), grouped(totals.lines, of), foot)

    sections: list[Section] = []
    if totals.lines:
        sections += [
            table("모델별 이용요금", "By model", (_label("모델", "Model", 0, 56),), lambda u: (u.model,), net=False),
            table(
                "키별 이용요금", "By API key", (_label("키", "API key", 0, 56),), lambda u: (_key_name(u),), net=False
            ),
            table("앱별 이용요금", "By app", (_label("앱", "App", 0, 56),), lambda u: (u.app or NO_APP,), net=False),
            table(
                "상세 내역",
                "By key, app and model",
                (_label("키", "API key", 0, 24), _label("앱", "App", 1, 24), _label("모델", "Model", 2, 32)),
                lambda u: (_key_name(u), u.app or NO_APP, u.model),
                net=True,
            ),
        ]
    if invoice.rates:
        sections.append(section("적용 환율", "Exchange rates applied", _RATES, invoice.rates, ()))
    return tuple(sections)


def _foot(label: str, totals: Totals, amount: Amount, labels: int, *, blank: bool = False) -> tuple[str, ...]:
    usage = [line.usage for line in totals.lines]
    counts = (
        sum(line.calls for line in usage),
        sum(line.prompt for line in usage),
        sum(line.cached for line in usage),
        sum(line.completion for line in usage),
    )
    shown = ("",) * len(counts) if blank else tuple(map(figures, counts))
    won = (figures(amount.supply), figures(amount.vat), figures(amount.total))
    return (label, *("",) * (labels - 1), *shown, *won)


def section(
    ko: str, en: str, columns: Sequence[Column[_Row]], rows: Sequence[_Row], foot: Sequence[tuple[str, ...]]
) -> Section:
    """A table of the document from declared columns."""
    headings = tuple(
        Heading(
            column.ko,
            column.en,
            "right" if column.kind in FIGURES else "left",
            column.width,
        )
        for column in columns
    )
    texts = tuple(tuple(_shown(column.kind, column.read(row)) for column in columns) for row in rows)
    return Section(ko, en, headings, texts, tuple(foot))


def _shown(kind: Kind, value: Value) -> str:
    match value:
        case int() if kind in NUMBERS:
            return figures(value)
        case int() | Decimal():
            return exact_figures(Decimal(value), 2 if kind == "rate" else 0)
        case None:
            return ""
        case _:
            return printable(str(value))
