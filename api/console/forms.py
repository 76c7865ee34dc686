"""Fields of forms as values."""

from __future__ import annotations

from gateway.errors import InvalidRequest

LONGEST_NUMBER = 9


def number(text: str, param: str) -> int | None:
    """A whole number, thousands apart or not; None for an empty field. Raises ``InvalidRequest``."""
    plain = text.replace(",", "")
    if not plain:
        return None
    if not (plain.isascii() and plain.isdecimal() and len(plain) <= LONGEST_NUMBER):
        raise InvalidRequest("Not a whole number.", param=param)
    return int(plain)


def lines(text: str) -> list[str]:
    """What stands on each line, without empty ones."""
    return [line.strip() for line in text.splitlines() if line.strip()]
