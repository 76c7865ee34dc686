"""Fields of forms as values, and values as fields."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.accounts import model_limits
from gateway.accounts.model_limits import ModelLimits
from gateway.errors import InvalidRequest

LONGEST_NUMBER = 10
"""Digits: tokens per minute go up to thousands of millions."""


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


def limits_by_model(text: str) -> ModelLimits:
    """Lines of ``MODEL: rpm=60, tpm=100000, concurrency=2``; what is left out has no limit. Raises ``InvalidRequest``."""
    try:
        return dict(model_limits.parse(line) for line in lines(text))
    except ValueError:
        raise InvalidRequest("Limits by model are lines of MODEL: rpm=60, tpm=100000.", param="model_limits") from None


def limits_text(limits: Mapping[str, Mapping[str, int]]) -> str:
    """The same as it is shown."""
    return "\n".join(
        f"{model}: {', '.join(f'{name}={most}' for name, most in sorted(given.items()))}"
        for model, given in sorted(limits.items())
    )
