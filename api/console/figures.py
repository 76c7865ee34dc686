"""Amounts, counts and moments as people read them. Every digit of an amount can be had; nothing is computed in floats."""

from __future__ import annotations

import datetime as dt
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal

from api.console.wording import Lang
from gateway.money import EXACT, exact, won_text
from gateway.wire.ids import SEOUL

WHOLE_FROM = 1_000
"""Won from which a figure is shown without decimals; its exact value stands beside it."""


def grouped(number: Decimal | str | int) -> str:
    """Every digit, thousands apart: ``12,345.678``."""
    text = won_text(exact(number))
    whole, point, rest = text.removeprefix("-").partition(".")
    return ("-" if text.startswith("-") else "") + f"{int(whole):,}" + point + rest


def won(lang: Lang, amount: Decimal | str) -> str:
    """An amount in won, every digit."""
    return _marked(lang, grouped(amount))


def won_short(lang: Lang, amount: Decimal | str, *, down: bool = False) -> str:
    """An amount in won as it is read at a glance: whole from 1,000 on, else two decimals, four below one won.

    ``down``: never more than there is, for what can still be spent.
    """
    value = exact(amount)
    step = Decimal(1) if abs(value) >= WHOLE_FROM else Decimal("0.01") if abs(value) >= 1 else Decimal("0.0001")
    return _marked(lang, grouped(value.quantize(step, ROUND_FLOOR if down else ROUND_HALF_UP)))


def from_micro(amount: int) -> Decimal:
    """Micro-won as won."""
    return EXACT.scaleb(Decimal(amount), Decimal(-6))


def usd(amount: Decimal | str) -> str:
    """A price in USD with at least two decimals."""
    text = grouped(amount)
    whole, _, rest = text.partition(".")
    return f"${whole}.{rest.ljust(2, '0')}"


def moment(at: dt.datetime | str) -> str:
    """A moment in Seoul, to the second."""
    known = dt.datetime.fromisoformat(at) if isinstance(at, str) else at
    return known.astimezone(SEOUL).strftime("%Y-%m-%d %H:%M:%S")


def day(at: dt.datetime) -> str:
    """A moment's date in Seoul."""
    return at.astimezone(SEOUL).strftime("%Y-%m-%d")


def seconds(ms: int) -> str:
    """How long something took, as it is read at a glance: ``240 ms``, ``1.8 s``, ``95 s``."""
    if ms < 1_000:
        return f"{ms} ms"
    return f"{ms // 1_000}.{ms % 1_000 // 100} s" if ms < 60_000 else f"{ms // 1_000} s"


def tenths(per_mille: int) -> str:
    """Per mille as per cent: ``99.7``."""
    return f"{per_mille // 10}.{per_mille % 10}"


def last_day(end: dt.datetime) -> str:
    """The last whole day in Seoul before something ends."""
    return day(end - dt.timedelta(seconds=1))


def tokens(count: int) -> str:
    """A length in tokens, short: ``128K``, ``1M``."""
    for size, letter in ((1_000_000, "M"), (1_000, "K")):
        if count >= size:
            return f"{won_text(Decimal(count * 10 // size) / 10)}{letter}"
    return str(count)


def _marked(lang: Lang, digits: str) -> str:
    if lang == "ko":
        return f"{digits}원"
    return f"-₩{digits[1:]}" if digits.startswith("-") else f"₩{digits}"
