"""What an alert says: to programs as JSON, to people in Korean and English."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from gateway.accounts.alerts_log import Scope
from gateway.money import won_floor, won_text
from gateway.wire.ids import SEOUL

_NAMES: dict[str, tuple[str, str]] = {
    "month": ("월 사용 한도", "monthly limit"),
    "credit": ("선불 크레딧", "prepaid credit"),
    "key": ("API 키 한도", "API key limit"),
}


def payload(
    alert: str,
    organisation: tuple[str, str],
    scope: Scope,
    percent: int,
    *,
    limit_won: Decimal,
    spent_won: Decimal,
    key: tuple[str, str] | None,
    month: str | None,
    at: dt.datetime,
) -> dict[str, Any]:
    """The body of a webhook; ``organisation`` and ``key`` are (id, name). Amounts as exact text in won."""
    return {
        "id": alert,
        "type": "limit.threshold",
        "organization": {"id": organisation[0], "name": organisation[1]},
        "scope": scope,
        "percent": percent,
        "limit_krw": won_text(limit_won),
        "spent_krw": won_text(spent_won),
        "left_krw": won_text(limit_won - spent_won),
        "key": None if key is None else {"id": key[0], "name": key[1]},
        "month": month,
        "raised_at": at.astimezone(SEOUL).isoformat(timespec="seconds"),
    }


def letter(body: dict[str, Any], public_url: str) -> tuple[str, str]:
    """Subject and text of the mail that says the same."""
    org = " ".join(str(body["organization"]["name"]).split())
    where = f"\n{public_url.rstrip('/')}/console\n" if public_url else ""
    if body["type"] == "alert.test":
        return (
            f"[WonRouter] {org} 알림 시험 / Test of alerts",
            f"{org}의 알림 메일이 잘 도착했습니다.\nAlerts of {org} reach this address.\n{where}",
        )
    korean, english = _NAMES[body["scope"]]
    what = f" ({body['key']['name']})" if body["key"] else ""
    percent = body["percent"]
    limit, spent, left = (f"{won_floor(Decimal(body[name])):,}" for name in ("limit_krw", "spent_krw", "left_krw"))
    after = (
        "남은 금액으로 처리할 수 없는 요청은 거절됩니다.\nCalls that what is left does not cover are refused.\n"
        if percent == 100
        else ""
    )
    return (
        f"[WonRouter] {org} {korean} {percent}% / {percent}% of the {english}",
        f"{org}의 {korean}{what} {limit}원 중 {percent}%를 사용했습니다. 사용 {spent}원, 남은 금액 {left}원.\n"
        f"{org} has used {percent}% of its {english}{what}: ₩{spent} of ₩{limit}, ₩{left} left.\n{after}{where}",
    )
