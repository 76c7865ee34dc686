"""What an invoice is made of: the two parties, the dates, the sums, the exchange rates behind them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from gateway.invoices.calendar import PaymentTerms, first_of
from gateway.invoices.numbering import InvoiceNumber
from gateway.invoices.totals import Totals

State = Literal["draft", "reviewed", "final", "issued", "paid", "overdue", "amended"]
NUMBERED: frozenset[State] = frozenset(("final", "issued", "paid", "overdue", "amended"))

ReasonCode = Literal["01", "02", "03", "04", "05", "06"]
REASONS: dict[ReasonCode, str] = {
    "01": "착오·정정 등",
    "02": "공급가액 변동",
    "03": "환입",
    "04": "계약의 해제",
    "05": "내국신용장 사후 개설",
    "06": "착오에 의한 이중발급",
}
"""Why a tax invoice is amended. A person chooses; nothing here does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One side of an invoice as its business registration has it. `branch` is the 4-digit 종사업장번호, if any."""

    registration: str
    name: str
    representative: str
    address: str
    business_type: str = ""
    business_item: str = ""
    email: str = ""
    email2: str = ""
    branch: str = ""


@dataclass(frozen=True, slots=True)
class BankAccount:
    """Where the customer pays to."""

    bank: str
    number: str
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RateUse:
    """An exchange rate (won per USD) that priced calls admitted from `first` to `last`, charged `exact` won."""

    first: dt.date
    last: dt.date
    rate: Decimal
    source: str
    exact: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """What an amending document corrects, and why."""

    of: InvoiceNumber
    code: ReasonCode
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """One month (`YYYYMM`) of one customer. Raises ValueError where number and state contradict each other."""

    month: str
    state: State
    number: InvoiceNumber | None
    written: dt.date
    issued: dt.date | None
    due: dt.date | None
    supplier: Party
    customer: Party
    totals: Totals
    rates: tuple[RateUse, ...] = ()
    terms: PaymentTerms | None = None
    account: BankAccount | None = None
    approval: str = ""
    amendment: Amendment | None = None
    note: str = ""

    def __post_init__(self) -> None:
        first_of(self.month)
        if self.state in NUMBERED and self.totals.whole.total and self.number is None:
            raise ValueError(f"an invoice that is {self.state} has a number")
        if self.number is not None and (self.state not in NUMBERED or self.number.month != self.month):
            raise ValueError(f"{self.number} is no number for a {self.state} invoice of {self.month}")

    @property
    def is_receipt(self) -> bool:
        """Whether everything was paid in advance (영수) and nothing is due."""
        return self.totals.due.total == 0
