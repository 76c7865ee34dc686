"""Checks of what people set: names and limits. Each raises ``InvalidRequest`` that names the parameter."""

from __future__ import annotations

from decimal import Decimal

from gateway.errors import InvalidRequest
from gateway.money import MAX_LIMIT_WON

LONGEST_NAME = 200
MOST_PER_MINUTE = 1_000_000
"""The window keeps one time per request of the last minute and limited scope: a higher limit is none."""
MOST_AT_ONCE = 1_000_000
MOST_TOKENS_PER_MINUTE = 2_000_000_000


def name(value: str, param: str = "name") -> str:
    """A name without blanks around it, 1 to 200 printable characters."""
    value = value.strip()
    if not value or len(value) > LONGEST_NAME or not value.isprintable():
        raise InvalidRequest(f"{param} must be 1 to {LONGEST_NAME} printable characters", param=param)
    return value


def won(value: Decimal | None, param: str) -> Decimal | None:
    """A limit in won: at least 0, at most 9,000,000,000, no finer than micro-won; None = no limit."""
    if value is None:
        return None
    if not value.is_finite() or not 0 <= value <= MAX_LIMIT_WON or value.scaleb(6) % 1:
        raise InvalidRequest(f"{param} must be 0 to {MAX_LIMIT_WON} won with at most 6 decimals", param=param)
    return value


def count(value: int | None, param: str, most: int) -> int | None:
    """A counting limit from 0 (nothing passes) to ``most``; None = no limit."""
    if value is not None and not 0 <= value <= most:
        raise InvalidRequest(f"{param} must be 0 to {most}", param=param)
    return value
