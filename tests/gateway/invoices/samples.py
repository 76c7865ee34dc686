"""Invoices that the tests share: two made-up companies and a month of a few lines."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

from gateway.invoices.calendar import DayOfMonth
from gateway.invoices.invoice import BankAccount, Invoice, Party, RateUse
from gateway.invoices.numbering import InvoiceNumber
from gateway.invoices.totals import Funding, UsageLine, VatRule, add_exact, compute

SUPPLIER = Party(
    registration="1234567891",
    name="주식회사 원라우터",
    representative="홍길동",
    address="서울특별시 강남구 테헤란로 123, 4층 (역삼동)",
    business_type="정보통신업",
    business_item="응용 소프트웨어 개발 및 공급업",
    email="tax@supplier.example",
)
CUSTOMER = Party(
    registration="999-88-12349",
    name="한빛데이터 주식회사",
    representative="김하늘",
    address="경기도 성남시 분당구 판교로 255번길 10, 가동 1201호",
    business_type="서비스업",
    business_item="데이터베이스 및 온라인정보 제공업",
    email="billing@customer.example",
    email2="ap@customer.example",
)


def line(exact: str, *, key: str = "key-1", model: str = "openai/gpt-4o", app: str = "", calls: int = 1) -> UsageLine:
    return UsageLine(
        key=key,
        key_name=f"{key} 운영",
        app=app,
        provider=model.split("/", maxsplit=1)[0],
        model=model,
        input_usd=Decimal("2.5"),
        output_usd=Decimal(10),
        rate=Decimal("1400.60"),
        exact=Decimal(exact),
        calls=calls,
        prompt=1200 * calls,
        cached=200 * calls,
        completion=300 * calls,
        cost_usd=Decimal("0.001") * calls,
        cost_won=Decimal("1.4006") * calls,
    )


LINES = (
    line("812345.1234567891", calls=51234, app="고객상담 챗봇"),
    line("240120.5", key="key-2", model="anthropic/claude-sonnet-4.5", calls=8120, app="문서 요약"),
    line("93120.0000000001", key="key-2", model="google/gemini-2.5-flash", calls=90211, app='=HYPERLINK("x")'),
    line("10.125", key="key-3", model="openai/gpt-4o-mini"),
)
GROSS = add_exact(usage.exact for usage in LINES)


def invoice(
    lines: Sequence[UsageLine] = LINES,
    *,
    funding: Funding | None = None,
    rule: VatRule | None = None,
    draft: bool = False,
    customer: Party = CUSTOMER,
    sequence: int = 7,
) -> Invoice:
    funding = funding or Funding(credit=add_exact(usage.exact for usage in lines))
    totals = compute(lines, funding, rule)
    return Invoice(
        month="202611",
        state="draft" if draft else "issued",
        number=None if draft else InvoiceNumber("WR", "202611", sequence),
        written=dt.date(2026, 11, 30),
        issued=None if draft else dt.date(2026, 12, 3),
        due=dt.date(2026, 12, 31),
        supplier=SUPPLIER,
        customer=customer,
        totals=totals,
        rates=(
            RateUse(
                first=dt.date(2026, 11, 1),
                last=dt.date(2026, 11, 30),
                rate=Decimal("1400.60"),
                source="한국수출입은행 매매기준율",
                exact=add_exact(usage.exact for usage in lines),
            ),
        ),
        terms=DayOfMonth(31),
        account=BankAccount("우리은행", "1005-000-000000", "주식회사 원라우터"),
    )
