"""Korean numbers: business registration, tax-invoice approval, won as people read it."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal

_BUSINESS = re.compile(r"[0-9]{10}|[0-9]{3}-[0-9]{2}-[0-9]{5}")
_WEIGHTS = (1, 3, 7, 1, 3, 7, 1, 3, 5)
_APPROVAL = re.compile(r"[0-9]{8}[0-9A-Za-z]{16}")


def business_number(text: str) -> str:
    """The ten digits of a business registration number, written with or without hyphens.

    Raises:
        ValueError: the shape or the check digit is wrong. The message does not repeat the input.
    """
    shape = _BUSINESS.fullmatch(text.strip())
    if shape is None:
        raise ValueError("a business registration number has ten digits: 123-45-67891")
    digits = shape.group().replace("-", "")
    if digits == "0000000000" or _check_digit(digits) != int(digits[9]):
        raise ValueError("the check digit of the business registration number is wrong")
    return digits


def _check_digit(digits: str) -> int:
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, digits, strict=False))
    # The ninth digit counts twice: its weight of 5, and the tens of that product once more.
    total += int(digits[8]) * 5 // 10
    return (10 - total % 10) % 10


def is_business_number(text: str) -> bool:
    """Whether the text is a business registration number with a right check digit."""
    try:
        business_number(text)
    except ValueError:
        return False
    return True


def show_business_number(text: str) -> str:
    """``123-45-67891``. Raises ValueError as ``business_number`` does."""
    digits = business_number(text)
    return f"{digits[:3]}-{digits[3:5]}-{digits[5:]}"


def is_approval_number(text: str) -> bool:
    """Whether the text is a tax-invoice approval number: the date of issue and 16 letters or digits."""
    return _APPROVAL.fullmatch(text) is not None


def show_won(won: Decimal | int) -> str:
    """Won for people: ``₩1,838``. The won has no decimals (ISO 4217), so half a won rounds up, away from zero."""
    whole = int(Decimal(won).quantize(Decimal(1), rounding=ROUND_HALF_UP))
    return f"-₩{-whole:,}" if whole < 0 else f"₩{whole:,}"
