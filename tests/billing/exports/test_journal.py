import csv
import datetime as dt
import io
from decimal import Decimal

import pytest

from billing.exports.journal import CHART, AccountTitle, JournalEntry, UnbalancedError, journal_csv


def entry(kind: str, won: str, voucher: str = "v1") -> JournalEntry:
    return JournalEntry(
        day=dt.date(2026, 11, 30),
        voucher=voucher,
        transaction_kind="invoice",
        org="org-1",
        org_name="한빛데이터 주식회사",
        kind=kind,
        won=Decimal(won),
        reference="WR-202611-0007",
    )


def lines(*entries: JournalEntry) -> list[dict[str, str]]:
    text = b"".join(journal_csv(entries)).decode("utf-8-sig")
    table = list(csv.reader(io.StringIO(text)))
    return [dict(zip(table[0], row, strict=True)) for row in table[2:]]


def test_debits_and_credits_stand_apart_under_korean_account_titles():
    found = lines(
        entry("receivable", "1100"), entry("revenue", "-1000.5"), entry("vat_payable", "-100"), entry("rounding", "0.5")
    )
    assert [(row["계정과목"], row["차변"], row["대변"]) for row in found[:-1]] == [
        ("외상매출금", "1100", ""),
        ("서비스매출", "", "1000.5"),
        ("부가세예수금", "", "100"),
        ("단수차이", "0.5", ""),
    ]
    assert found[-1]["차변"] == found[-1]["대변"] == "1100.5"
    assert found[0]["일자"] == "2026-11-30" and found[0]["참조"] == "WR-202611-0007"


@pytest.mark.parametrize("won", ["-10.0000000000000001", "-9"])
def test_a_voucher_out_of_balance_is_refused_by_name(won: str):
    with pytest.raises(UnbalancedError, match="v1"):
        lines(entry("wallet", "10"), entry("revenue", won), entry("wallet", "1", "v2"), entry("revenue", "-1", "v2"))


def test_the_last_voucher_is_checked_too():
    with pytest.raises(UnbalancedError, match="v2"):
        lines(entry("wallet", "10"), entry("revenue", "-10"), entry("wallet", "1", "v2"))


def test_a_companys_own_chart_replaces_the_codes():
    chart = {
        **CHART,
        "wallet": AccountTitle("2590", "선수금", "Advances"),
        "revenue": AccountTitle("4010", "매출", "Sales"),
    }
    text = b"".join(journal_csv([entry("wallet", "1"), entry("revenue", "-1")], chart)).decode("utf-8-sig")
    assert ",2590,선수금," in text and ",4010,매출," in text
