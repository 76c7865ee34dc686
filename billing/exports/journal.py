"""The ledger as a journal that an accounting program reads: one line per entry, debit and credit apart."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from billing.exports.csv_file import csv_chunks
from gateway.invoices.table import Column
from gateway.money import EXACT


@dataclass(frozen=True, slots=True)
class AccountTitle:
    """An account of the company's own books: its code and what it is called there."""

    code: str
    ko: str
    en: str


CHART: Mapping[str, AccountTitle] = MappingProxyType(
    {
        "cash_clearing": AccountTitle("103", "보통예금", "Cash clearing"),
        "receivable": AccountTitle("108", "외상매출금", "Trade receivables"),
        "unbilled": AccountTitle("116", "미청구채권", "Unbilled receivables"),
        "vat_payable": AccountTitle("255", "부가세예수금", "VAT payable"),
        "wallet": AccountTitle("259", "선수금", "Advances from customers"),
        "revenue": AccountTitle("412", "서비스매출", "Service revenue"),
        "promo": AccountTitle("833", "판매촉진비", "Sales promotion"),
        "loss_unbilled": AccountTitle("835", "미청구손실", "Unbilled losses"),
        "rounding": AccountTitle("930", "단수차이", "Rounding differences"),
    }
)
"""Codes as small Korean companies commonly number their accounts. A company's own chart replaces them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One ledger entry. `won` is exact: a debit positive, a credit negative. `kind` is the ledger's account kind."""

    day: dt.date
    voucher: str
    transaction_kind: str
    org: str
    org_name: str
    kind: str
    won: Decimal
    memo: str = ""
    reference: str = ""


class UnbalancedError(ValueError):
    """A voucher's debits and credits differ."""


def _columns(chart: Mapping[str, AccountTitle]) -> tuple[Column[JournalEntry], ...]:
    def credit(entry: JournalEntry) -> Decimal | None:
        return EXACT.minus(entry.won) if entry.won < 0 else None

    return (
        Column("일자", "Date", "date", lambda entry: entry.day, 11),
        Column("전표번호", "Voucher", "text", lambda entry: entry.voucher, 38),
        Column("거래유형", "Kind", "text", lambda entry: entry.transaction_kind, 12),
        Column("계정코드", "Account", "text", lambda entry: chart[entry.kind].code, 9),
        Column("계정과목", "Account title", "text", lambda entry: chart[entry.kind].ko, 16),
        Column("계정과목(영문)", "Account title (English)", "text", lambda entry: chart[entry.kind].en, 24),
        Column("차변", "Debit (KRW)", "exact", lambda entry: entry.won if entry.won > 0 else None, 24, total=True),
        Column("대변", "Credit (KRW)", "exact", credit, 24, total=True),
        Column("고객 ID", "Customer ID", "text", lambda entry: entry.org, 38),
        Column("거래처", "Customer", "text", lambda entry: entry.org_name, 24),
        Column("적요", "Memo", "text", lambda entry: entry.memo, 30),
        Column("참조", "Reference", "text", lambda entry: entry.reference, 24),
    )


COLUMNS = _columns(CHART)


def journal_csv(entries: Iterable[JournalEntry], chart: Mapping[str, AccountTitle] = CHART) -> Iterator[bytes]:
    """The journal in pieces. Entries of one voucher must follow each other.

    Raises UnbalancedError at the first voucher that does not sum to zero (what was written before it is void), and
    KeyError for an account that the chart does not name.
    """
    return csv_chunks(_columns(chart), _balanced(entries))


def _balanced(entries: Iterable[JournalEntry]) -> Iterator[JournalEntry]:
    voucher, open_won = None, Decimal(0)
    for entry in entries:
        if entry.voucher != voucher:
            _refuse_open(voucher, open_won)
            voucher = entry.voucher
        open_won = EXACT.add(open_won, entry.won)
        yield entry
    _refuse_open(voucher, open_won)


def _refuse_open(voucher: str | None, open_won: Decimal) -> None:
    if open_won:
        raise UnbalancedError(f"voucher {voucher} is out of balance by {open_won} won")
