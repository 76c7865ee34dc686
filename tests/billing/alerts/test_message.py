"""What an alert says to people."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from billing.alerts.message import letter, payload
from gateway.accounts.alerts_log import Scope


def body(scope: Scope, percent: int, key: tuple[str, str] | None = None) -> dict[str, object]:
    return payload(
        "a-1", ("o-1", "한빛\r\nBcc: x@y.kr 상사"), scope, percent, limit_won=Decimal(10_000),
        spent_won=Decimal("8000.25"), key=key, month=None, at=dt.datetime(2026, 11, 20, 15, tzinfo=dt.UTC),
    )  # fmt: skip


def test_the_letter_names_limit_and_amounts_in_both_languages() -> None:
    subject, text = letter(body("key", 80, ("k-1", "배치")), "https://llm.example.kr/")
    assert subject == "[WonRouter] 한빛 Bcc: x@y.kr 상사 API 키 한도 80% / 80% of the API key limit"
    assert "API 키 한도 (배치) 10,000원 중 80%를 사용했습니다. 사용 8,000원, 남은 금액 1,999원." in text
    assert "₩8,000 of ₩10,000" in text
    assert "https://llm.example.kr/console" in text
    assert "거절" not in text


def test_at_the_end_of_a_limit_the_letter_says_that_calls_are_refused() -> None:
    _, text = letter(body("credit", 100), "")
    assert "거절" in text
    assert "refused" in text


def test_the_payload_carries_exact_amounts_and_seoul_time() -> None:
    made = body("month", 80)
    assert (made["limit_krw"], made["spent_krw"], made["left_krw"]) == ("10000", "8000.25", "1999.75")
    assert made["raised_at"] == "2026-11-21T00:00:00+09:00"
