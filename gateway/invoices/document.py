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
    """A labelled value. `strong` is the line that the reader looks for; `half` shares its line with the next one that
    is a half; `seal` leaves a place for the company's seal (인) behind it."""

    ko: str
    en: str
    value: str
    strong: bool = False
    half: bool = False
    seal: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A titled group of fields: one of the two parties, the sums, the payment."""

    ko: str
    en: str
    fields: tuple[Field, ...]

    @property
    def lines(self) -> list[tuple[Field, ...]]:
        """The fields line by line: one alone, or two halves beside each other."""
        lines, left = list[tuple[Field, ...]](), self.fields
        while left:
            size = 2 if len(left) > 1 and left[0].half and left[1].half else 1
            lines.append(left[:size])
            left = left[size:]
        return lines


@dataclass(frozen=True, slots=True)
class Heading:
    """A column of a section: its two headers and its alignment. Figures stand on the right."""

    ko: str
    en: str
    align: Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the document. `foot` rows are sums; the headings are repeated on every page. Two `narrow` ones that
    follow each other stand side by side."""

    ko: str
    en: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[str, ...], ...]
    foot: tuple[tuple[str, ...], ...] = ()
    narrow: bool = False


SIDE_BY_SIDE = 14
"""Narrow tables with more rows are drawn one below the other."""


def pairs(sections: Sequence[Section]) -> list[tuple[Section, ...]]:
    """The sections in their order: one alone, or two that stand side by side."""
    found, left = list[tuple[Section, ...]](), tuple(sections)
    while left:
        size = 2 if [one.narrow and len(one.rows) <= SIDE_BY_SIDE for one in left[:2]] == [True, True] else 1
        found.append(left[:size])
        left = left[size:]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Everything that is printed, in its order. `attached` tables are long: they follow whatever needs to be signed."""

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
    attached: tuple[Section, ...]


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
        supplier=_party("공급자", "Supplier", invoice.supplier, seal=True),
        customer=_party("공급받는자", "Customer", invoice.customer),
        headline=Field(*label, f"₩{figures(shown)}", strong=True),
        words=won_in_words(shown),
        sums=_sums(totals),
        payment=_payment(invoice),
        sections=_sections(invoice),
        notes=_notes(invoice),
        attached=_attached(invoice),
    )


def _month_text(month: str) -> str:
    return f"{month[:4]}년 {int(month[4:])}월"


def _facts(invoice: Invoice, number: str) -> tuple[Field, ...]:
    facts = [
        Field("문서번호", "Number", number),
        Field("작성일자", "Date", korean_date(invoice.written)),
        Field("발행일자", "Issued", korean_date(invoice.issued)),
        Field("이용기간", "Period", f"{first_of(invoice.month)} ~ {last_of(invoice.month):%m-%d}"),
    ]
    if not invoice.is_receipt:
        facts.append(Field("납부기한", "Due", korean_date(invoice.due), strong=True))
    return tuple(facts)


def _party(ko: str, en: str, party: Party, *, seal: bool = False) -> Block:
    registration = registration_text(party.registration)
    if party.branch:
        registration = f"{registration} (종사업장 {party.branch})"
    emails = ", ".join(email for email in (party.email, party.email2) if email)
    fields = (
        Field("등록번호", "Business no.", registration, strong=True),
        Field("상호", "Company", printable(party.name), strong=True, half=True),
        Field("대표자", "Rep.", printable(party.representative), half=True, seal=seal),
        Field("주소", "Address", printable(party.address)),
        Field("업태", "Type", printable(party.business_type), half=True),
        Field("종목", "Item", printable(party.business_item), half=True),
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
    if invoice.rates:
        fields.append(Field("적용환율", "Rate", _rates_text(invoice.rates)))
    if invoice.approval:
        fields.append(Field("승인번호", "Approval", invoice.approval))
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
        f"요금 = 토큰 수 × 단가(USD/1M) × 적용환율. 호출별로는 반올림하지 않고 월 합계에서 원 미만을 절사합니다. {vat}.",
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
_DETAIL: tuple[Column[Group], ...] = (_CALLS, _INPUT, _OUTPUT, *_WON)
_FEW_RATES = 3
"""Up to so many exchange rates stand on the document itself; a month of daily rates is attached. A single one is told
beside the payment."""

_RATES_TITLE = ("적용 환율", "Exchange rates applied")
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


def _prices(usage: UsageLine) -> str:
    return f"{exact_figures(usage.input_usd, 2)}/{exact_figures(usage.output_usd, 2)}"


def _sections(invoice: Invoice) -> tuple[Section, ...]:
    """The month by model and price, by key and by app, and the rates behind it where they are few."""
    totals = invoice.totals
    sections: list[Section] = []
    if totals.lines:
        prices: Column[Group] = Column("단가 (입력/출력)", "USD per 1M", "text", lambda group: group.labels[1])
        columns = (_label(*_MODEL, 0), prices, _CALLS, _INPUT, _CACHED, _OUTPUT, *_WON)
        by_price = _usage(
            ("모델별 이용요금", "By model"), totals, columns, lambda usage: (usage.model, _prices(usage)), net=True
        )
        sections.append(by_price)
        sections.append(_narrow(("키별 이용요금", "By API key"), _KEY, totals, _key_name))
        sections.append(_narrow(("앱별 이용요금", "By app"), _APP, totals, _app_name))
    if 1 < len(invoice.rates) <= _FEW_RATES:
        sections.append(_section(_RATES_TITLE, _RATES, invoice.rates))
    return tuple(sections)


def _narrow(
    title: tuple[str, str], label: tuple[str, str], totals: Totals, name: Callable[[UsageLine], str]
) -> Section:
    columns = (_label(*label, 0), _CALLS, *_WON)
    return dataclasses.replace(_usage(title, totals, columns, lambda usage: (name(usage),)), narrow=True)


def _attached(invoice: Invoice) -> tuple[Section, ...]:
    """Every key, app and model, unless the tables before say the same; and the rates where they are many."""
    totals = invoice.totals
    attached: list[Section] = []
    several = [len({name(line.usage) for line in totals.lines}) > 1 for name in (_key_name, _app_name, _model)]
    if sum(several) > 1:
        names = (_label(*_KEY, 0), _label(*_APP, 1), _label(*_MODEL, 2))
        attached.append(
            _usage(
                ("별첨 · 상세 내역", "Attached: by key, app and model"),
                totals,
                (*names, *_DETAIL),
                lambda usage: (_key_name(usage), _app_name(usage), usage.model),
            )
        )
    if len(invoice.rates) > _FEW_RATES:
        ko, en = _RATES_TITLE
        attached.append(_section((f"별첨 · {ko}", f"Attached: {en.lower()}"), _RATES, invoice.rates))
    return tuple(attached)


def _rates_text(rates: Sequence[RateUse]) -> str:
    """The lowest and the highest rate, and where they come from."""
    lowest, highest = (exact_figures(found(use.rate for use in rates), 2) for found in (min, max))
    if len(rates) == 1:
        source = printable(rates[0].source)
        return f"{lowest} ({source})" if source else lowest
    return f"{lowest} ~ {highest} ({len(rates)}건)" if lowest != highest else f"{lowest} ({len(rates)}건)"


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
