"""Korean business days, and the dates of an invoice that depend on them.

A deadline on a Saturday, Sunday, public holiday or Labour Day moves to the next business day. `holidays` knows the
law's holidays and their substitutes; a temporary holiday that the government declares later is passed as `extra`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from gateway.business_days import NONE, business_days_between, is_business_day, on_or_after

__all__ = ["NONE", "business_days_between", "is_business_day", "on_or_after"]  # where invoices look for them

ISSUE_DAY = 10
"""A month's tax invoices may be issued until this day of the next month."""


def first_of(month: str) -> dt.date:
    """The first day of `month` (`YYYYMM`). Raises ValueError if it is no month."""
    if len(month) != 6 or not (month.isascii() and month.isdigit()):
        raise ValueError(f"not a month as YYYYMM: {month!r}")
    return dt.date(int(month[:4]), int(month[4:]), 1)


def _months_later(first: dt.date, months: int) -> dt.date:
    years, month = divmod(first.month - 1 + months, 12)
    return dt.date(first.year + years, month + 1, 1)


def last_of(month: str) -> dt.date:
    """The last day of `month` (`YYYYMM`)."""
    return _months_later(first_of(month), 1) - dt.timedelta(days=1)


def written_on(month: str) -> dt.date:
    """작성일자 of a monthly invoice: the last day of its month, holiday or not."""
    return last_of(month)


def issue_by(month: str, extra: AbstractSet[dt.date] = NONE) -> dt.date:
    """The last day on which the month's tax invoice may be issued."""
    return on_or_after(_months_later(first_of(month), 1).replace(day=ISSUE_DAY), extra)


@dataclass(frozen=True, slots=True)
class DaysAfterIssue:
    """Payable within `days` calendar days of the day of issue."""

    days: int

    def __post_init__(self) -> None:
        if not 0 <= self.days <= 366:
            raise ValueError("payment terms run from 0 to 366 days")


@dataclass(frozen=True, slots=True)
class DayOfMonth:
    """Payable on `day` of the month `months` after the invoice's month; 31 means its last day (말일)."""

    day: int
    months: int = 1

    def __post_init__(self) -> None:
        if not (1 <= self.day <= 31 and 1 <= self.months <= 12):
            raise ValueError("payment terms name a day from 1 to 31, 1 to 12 months later")


PaymentTerms = DaysAfterIssue | DayOfMonth


def due_on(terms: PaymentTerms, month: str, issued: dt.date, extra: AbstractSet[dt.date] = NONE) -> dt.date:
    """When the invoice of `month` (`YYYYMM`), issued on `issued`, is to be paid: a business day, and never before it
    was issued."""
    match terms:
        case DaysAfterIssue(days):
            day = issued + dt.timedelta(days=days)
        case DayOfMonth(wanted, months):
            first = _months_later(first_of(month), months)
            end = _months_later(first, 1) - dt.timedelta(days=1)
            day = first.replace(day=min(wanted, end.day))
    return on_or_after(max(day, issued), extra)


def terms_text(terms: PaymentTerms) -> tuple[str, str]:
    """The terms in words, Korean and English."""
    match terms:
        case DaysAfterIssue(0):
            return "발행일 지급", "due on issue"
        case DaysAfterIssue(days):
            return f"발행일로부터 {days}일 이내", f"within {days} days of issue"
        case DayOfMonth(day, months):
            when = "익월" if months == 1 else f"{months}개월 후"
            later = "next month" if months == 1 else f"{months} months later"
            if day == 31:
                return f"{when} 말일", f"last day, {later}"
            return f"{when} {day}일", f"day {day}, {later}"
