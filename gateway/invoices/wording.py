"""Amounts and names as they are printed on a Korean invoice."""

from __future__ import annotations

import datetime as dt
import unicodedata
from decimal import Decimal

from gateway.money import won_text

_DIGITS = "영일이삼사오육칠팔구"
_TENS = ("", "십", "백", "천")
_MYRIADS = ("", "만", "억", "조", "경")


def won_in_words(won: int) -> str:
    """Whole won spelled out, as it stands beside the figure on Korean papers: 일금 일만이천삼백사십오원정.

    Raises ValueError beyond what the words reach (10^20 won).
    """
    size = abs(won)
    if size >= 10 ** (4 * len(_MYRIADS)):
        raise ValueError("no words for an amount of that size")
    groups: list[str] = []
    for myriad in _MYRIADS:
        size, group = divmod(size, 10_000)
        if group:
            groups.append(_four_digits(group) + myriad)
    words = "".join(reversed(groups)) or _DIGITS[0]
    return f"일금 {'마이너스 ' if won < 0 else ''}{words}원정"


def _four_digits(group: int) -> str:
    words = ""
    for place in range(3, -1, -1):
        digit = group // 10**place % 10
        if digit:
            # One is written out before every unit: it cannot be forged into another digit.
            words += _DIGITS[digit] + _TENS[place]
    return words


def figures(number: int) -> str:
    """A whole number with commas: 1,838."""
    return f"{number:,}"


def exact_figures(number: Decimal, decimals: int = 0) -> str:
    """Every digit of a decimal, with commas before the point and at least `decimals` digits after it: 1,837.503679."""
    whole, _, fraction = won_text(number).partition(".")
    fraction = fraction.ljust(decimals, "0")
    sign = "-" if whole.startswith("-") else ""
    return f"{sign}{int(whole.lstrip('-')):,}{'.' if fraction else ''}{fraction}"


def korean_date(day: dt.date | None) -> str:
    """2026-11-30, or a dash where there is no date yet."""
    return day.isoformat() if day else "-"


def registration_text(registration: str) -> str:
    """A business registration number with its hyphens (123-45-67891); anything else as it is."""
    digits = registration.replace("-", "")
    if len(digits) == 10 and digits.isascii() and digits.isdigit():
        return f"{digits[:3]}-{digits[3:5]}-{digits[5:]}"
    return registration


def printable(text: str) -> str:
    """Text in composed form (names typed on a Mac come decomposed), on one line, without control characters."""
    composed = unicodedata.normalize("NFC", text)
    return " ".join("".join(c if unicodedata.category(c)[0] != "C" else " " for c in composed).split())
