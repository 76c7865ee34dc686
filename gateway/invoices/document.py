"""The content of the invoice document: which blocks, lines and words it has. HTML and PDF only draw it.

Everything here is text already, so that both show the very same figures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeVar

from gateway.invoices.calendar import first_of, last_of, terms_text
from gateway.invoices.invoice import REASONS, Invoice, Party, RateUse
from gateway.invoices.table import FIGURES, NUMBERS, Column, Kind, Value
from gateway.invoices.totals import Group, Totals, UsageLine, grouped
from gateway.invoices.wording import (
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
    """A column of a section: its two headers and its alignment. Figures stand on the right."""

    ko: str
    en: str
    align: Literal["left", "right"]


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


_CALLS: Column[Group] = Column("호출수", "Calls", "count", lambda group: group.calls)
_INPUT: Column[Group] = Column("입력 토큰", "Input", "count", lambda group: group.prompt)
_CACHED: Column[Group] = Column("(캐시)", "Cached", "count", lambda group: group.cached)
_OUTPUT: Column[Group] = Column("출력 토큰", "Output", "count", lambda group: group.completion)
_WON: tuple[Column[Group], ...] = (
    Column("공급가액", "Supply", "won", lambda group: group.amount.supply),
    Column("세액", "VAT", "won", lambda group: group.amount.vat),
    Column("합계", "Total", "won", lambda group: group.amount.total),
)
_SUMMARY: tuple[Column[Group], ...] = (_CALLS, _INPUT, _CACHED, _OUTPUT, *_WON)
_DETAIL: tuple[Column[Group], ...] = (_CALLS, _INPUT, _OUTPUT, *_WON)

_RATES: tuple[Column[RateUse], ...] = (
    Column("적용 기간", "Applied", "text", lambda use: f"{use.first} ~ {use.last}"),
    Column("출처", "Source", "text", lambda use: use.source),
    Column("환율 (원/USD)", "KRW per USD", "rate", lambda use: use.rate),
    Column("정확금액 (원)", "Exact charge", "exact", lambda use: use.exact),
)


def _label(ko: str, en: str, place: int) -> Column[Group]:
    return Column(ko, en, "text", lambda group: group.labels[place])


_KEY, _APP, _MODEL = ("키", "API key"), ("앱", "App"), ("모델", "Model")


def _key_name(usage: UsageLine) -> str:
    return usage.key_name or usage.key


def _app_name(usage: UsageLine) -> str:
    return usage.app or NO_APP


def _model(usage: UsageLine) -> str:
    return usage.model


def _sections(invoice: Invoice) -> tuple[Section, ...]:
    totals = invoice.totals
    sections: list[Section] = []
    if totals.lines:
        for title, label, name in (
            (("모델별 이용요금", "By model"), _MODEL, _model),
            (("키별 이용요금", "By API key"), _KEY, _key_name),
            (("앱별 이용요금", "By app"), _APP, _app_name),
        ):
            by_name = _by_one(name)
            sections.append(_usage(title, totals, (_label(*label, 0), *_SUMMARY), by_name))
        names = (_label(*_KEY, 0), _label(*_APP, 1), _label(*_MODEL, 2))
        sections.append(
            _usage(
                ("상세 내역", "By key, app and model"),
                totals,
                (*names, *_DETAIL),
                lambda usage: (_key_name(usage), _app_name(usage), usage.model),
                net=True,
            )
        )
    if invoice.rates:
        sections.append(_section(("적용 환율", "Exchange rates applied"), _RATES, invoice.rates))
    return tuple(sections)


def _by_one(name: Callable[[UsageLine], str]) -> Callable[[UsageLine], tuple[str, ...]]:
    return lambda usage: (name(usage),)


def _usage(
    title: tuple[str, str],
    totals: Totals,
    columns: Sequence[Column[Group]],
    labels: Callable[[UsageLine], tuple[str, ...]],
    *,
    net: bool = False,
) -> Section:
    """The month's lines by `labels` with their sum; `net` goes on to the promotion and what is left after it."""
    (whole,) = grouped(totals.lines, lambda _: ("이용요금 합계",))
    foot = [_sum_row(columns, "이용요금 합계", whole, columns)]
    if net and totals.promotion_exact:
        for label, amount in (("프로모션 할인", totals.promotion), ("합계", totals.whole)):
            foot.append(_sum_row(columns, label, dataclasses.replace(whole, amount=amount), _WON))
    return _section(title, columns, grouped(totals.lines, labels), foot)


def _sum_row(
    columns: Sequence[Column[Group]], label: str, group: Group, shown: Sequence[Column[Group]]
) -> tuple[str, ...]:
    figures_of = [
        _shown(column.kind, column.read(group)) if column in shown and column.kind in FIGURES else ""
        for column in columns[1:]
    ]
    return (label, *figures_of)


def _section(
    title: tuple[str, str],
    columns: Sequence[Column[_Row]],
    rows: Sequence[_Row],
    foot: Sequence[tuple[str, ...]] = (),
) -> Section:
    headings = tuple(Heading(column.ko, column.en, "right" if column.kind in FIGURES else "left") for column in columns)
    texts = tuple(tuple(_shown(column.kind, column.read(row)) for column in columns) for row in rows)
    return Section(*title, headings, texts, tuple(foot))


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
