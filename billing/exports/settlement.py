"""The month's settlement: what every organisation used and was charged, one row per key, app, model, price and rate.

The rows are the very lines of the invoice, so that this file, the invoice and the tax-invoice sheet agree to the won.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from gateway.invoices.table import Column
from gateway.invoices.totals import Amount, Totals
from gateway.money import EXACT

SHEET = "정산 Settlement"
PROMOTION = "프로모션 할인 Promotion"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementRow:
    """One line of the settlement. Prices in USD per 1M tokens, `rate` and `exact` in won, tokens, `amount` in whole
    won; `cost_won` and `cost_usd` are the provider's charge, None where unknown. `status` is the invoice's state."""

    month: str
    org: str
    registration: str
    org_name: str
    key: str
    app: str
    provider: str
    model: str
    calls: int
    prompt: int
    cached: int
    completion: int
    input_usd: Decimal | None
    output_usd: Decimal | None
    rate: Decimal | None
    exact: Decimal
    amount: Amount
    rounding: Decimal
    number: str = ""
    approval: str = ""
    status: str = ""
    cost_usd: Decimal | None = None
    cost_won: Decimal | None = None

    @property
    def profit(self) -> Decimal | None:
        """Supply less the provider's cost, in won; None where the cost is unknown."""
        return None if self.cost_won is None else EXACT.subtract(Decimal(self.amount.supply), self.cost_won)


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """Whose settlement it is, and the invoice that it became (empty strings where there is none yet)."""

    month: str
    org: str
    registration: str
    org_name: str
    number: str = ""
    approval: str = ""
    status: str = ""


def settlement_rows(billed: Billed, totals: Totals) -> Iterator[SettlementRow]:
    """The lines of one invoice, and its promotion as a line of its own."""
    for line in totals.lines:
        usage = line.usage
        yield SettlementRow(
            month=billed.month,
            org=billed.org,
            registration=billed.registration,
            org_name=billed.org_name,
            key=usage.key_name or usage.key,
            app=usage.app,
            provider=usage.provider,
            model=usage.model,
            calls=usage.calls,
            prompt=usage.prompt,
            cached=usage.cached,
            completion=usage.completion,
            input_usd=usage.input_usd,
            output_usd=usage.output_usd,
            rate=usage.rate,
            exact=usage.exact,
            amount=line.amount,
            rounding=line.rounding,
            number=billed.number,
            approval=billed.approval,
            status=billed.status,
            cost_usd=usage.cost_usd,
            cost_won=usage.cost_won,
        )
    if totals.promotion_exact:
        yield _promotion(billed, totals)


def _promotion(billed: Billed, totals: Totals) -> SettlementRow:
    return SettlementRow(
        month=billed.month,
        org=billed.org,
        registration=billed.registration,
        org_name=billed.org_name,
        key="",
        app="",
        provider="",
        model=PROMOTION,
        calls=0,
        prompt=0,
        cached=0,
        completion=0,
        input_usd=None,
        output_usd=None,
        rate=None,
        exact=EXACT.minus(totals.promotion_exact),
        amount=totals.promotion,
        rounding=totals.promotion_rounding,
        number=billed.number,
        approval=billed.approval,
        status=billed.status,
        cost_usd=Decimal(0),
        cost_won=Decimal(0),
    )


_Column = Column[SettlementRow]

COLUMNS: tuple[_Column, ...] = (
    _Column("정산월", "Month", "text", lambda row: row.month, 9),
    _Column("고객 ID", "Customer ID", "text", lambda row: row.org, 38),
    _Column("사업자등록번호", "Business no.", "text", lambda row: row.registration, 15),
    _Column("상호", "Company", "text", lambda row: row.org_name, 24),
    _Column("키", "API key", "text", lambda row: row.key, 20),
    _Column("앱(X-Title)", "App (X-Title)", "text", lambda row: row.app, 20),
    _Column("공급사", "Provider", "text", lambda row: row.provider, 12),
    _Column("모델", "Model", "text", lambda row: row.model, 30),
    _Column("호출수", "Calls", "count", lambda row: row.calls, 10, total=True),
    _Column("입력 토큰", "Input tokens", "count", lambda row: row.prompt, 14, total=True),
    _Column("캐시 토큰", "of which cached", "count", lambda row: row.cached, 14, total=True),
    _Column("출력 토큰", "Output tokens", "count", lambda row: row.completion, 14, total=True),
    _Column("입력 단가 USD", "Input USD / 1M", "exact", lambda row: row.input_usd, 14),
    _Column("출력 단가 USD", "Output USD / 1M", "exact", lambda row: row.output_usd, 14),
    _Column("적용환율", "KRW / USD", "rate", lambda row: row.rate, 11),
    _Column("정확금액", "Exact charge (KRW)", "exact", lambda row: row.exact, 26, total=True),
    _Column("공급가액", "Supply (KRW)", "won", lambda row: row.amount.supply, 14, total=True),
    _Column("세액", "VAT (KRW)", "won", lambda row: row.amount.vat, 12, total=True),
    _Column("합계", "Total (KRW)", "won", lambda row: row.amount.total, 14, total=True),
    _Column("단수차이", "Rounding (KRW)", "exact", lambda row: row.rounding, 22, total=True),
    _Column("청구번호", "Invoice no.", "text", lambda row: row.number, 18),
    _Column("승인번호", "Tax approval no.", "text", lambda row: row.approval, 27),
    _Column("상태", "Status", "text", lambda row: row.status, 10),
)
"""What a customer may see of its own settlement."""

WITH_COST: tuple[_Column, ...] = (
    *COLUMNS,
    _Column("원가 USD", "Cost (USD)", "exact", lambda row: row.cost_usd, 22, total=True),
    _Column("원가 KRW", "Cost (KRW)", "exact", lambda row: row.cost_won, 26, total=True),
    _Column("총이익", "Gross profit (KRW)", "exact", lambda row: row.profit, 26, total=True),
)
"""For the operator: with what the provider charges, and the profit. Never for a customer."""
