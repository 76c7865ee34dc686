"""Won, exactly: Decimal in, Decimal or whole numbers out, one place that rounds.

Three units, never mixed: *won* (`Decimal`, exact), *micro-won* (`int`, what the credit window counts) and
*whole won* (`int`, what invoices print). A request is never rounded; rounding happens when a hold is placed
(up, so that it always covers the charge), once per invoice, and for display.
"""

import re
from collections.abc import Sequence
from decimal import (
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_HALF_UP,
    Clamped,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)
from typing import Literal

MICRO = 1_000_000
"""Micro-won per won."""

MAX_LIMIT_WON = 9_000_000_000
"""The highest limit an organisation may have, in won. In micro-won it is 9e15, just below 2**53 (about 9.007e15),
up to which the doubles of Redis's Lua count exactly."""

VatMode = Literal["floor", "half_up", "ceil"]

_TRAPS = [Inexact, InvalidOperation, DivisionByZero, Overflow, Clamped]

EXACT = Context(prec=100, Emin=-400, Emax=400, traps=_TRAPS)
"""Arithmetic that raises instead of rounding. 100 digits hold any product of tokens, price and rate."""

_STORED = Context(prec=38, Emin=-400, Emax=400, traps=_TRAPS)
_STORED_STEP = Decimal("1E-16")
_WHOLE = Decimal(1)
_PLAIN = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?")
_MAX_EXPONENT = 60


def exact(value: str | int | Decimal) -> Decimal:
    """Read an amount, price or rate without losing a digit.

    Text must be plain ASCII notation (`"1400.60"`; no exponent, sign `+`, comma or blank). Floats are refused
    even where the type checker was silenced: 0.1 is not 0.1. Raises ValueError for anything else.
    """
    if isinstance(value, str):
        if not _PLAIN.fullmatch(value):
            raise ValueError(f"not a plain decimal number: {value[:64]!r}")
        return Decimal(value)
    typed = isinstance(value, (int, Decimal))  # pyright: ignore[reportUnnecessaryIsInstance] - callers lie
    if isinstance(value, bool) or not typed:
        raise ValueError(f"money is read from str, int or Decimal, not {type(value).__name__}")
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError(f"not a finite number: {number}")
    exponent = number.as_tuple().exponent
    if not (isinstance(exponent, int) and exponent >= -_MAX_EXPONENT and number.adjusted() <= _MAX_EXPONENT):
        raise ValueError("number outside any sensible range")
    return number


def quantize_exact(won: Decimal) -> Decimal:
    """`won` in the shape of its column, numeric(38,16). Raises ValueError if a digit would be lost.

    A price has at most 6 decimals and a rate at most 4, so price x rate / 10**6 always fits in 16.
    """
    try:
        return won.quantize(_STORED_STEP, context=_STORED)
    except (Inexact, InvalidOperation) as lost:
        raise ValueError(f"{won} does not fit numeric(38,16) exactly") from lost


def micro_ceil(won: Decimal) -> int:
    """Won to micro-won, rounded up (towards plus infinity): a hold or a posted charge is never too small."""
    return int(won.scaleb(6, EXACT).to_integral_value(ROUND_CEILING))


def won_floor(won: Decimal) -> int:
    """Whole won, rounded down: the supply amount of an invoice."""
    return int(won.to_integral_value(ROUND_FLOOR))


def won_half_up(won: Decimal) -> int:
    """Whole won for display only, halves away from zero. Nothing is charged from it."""
    return int(won.to_integral_value(ROUND_HALF_UP))


def won_text(won: Decimal) -> str:
    """Every digit in plain notation without trailing zeros: "0.36786759", "10.125", "0"."""
    if not won:
        return "0"
    return format(won.normalize(EXACT), "f")


def vat_on(supply: int, mode: VatMode = "floor") -> int:
    """10% VAT in whole won on a supply amount in whole won.

    A negative supply (a correction) is the mirror image, so that a full reversal cancels to zero.
    """
    size = abs(supply)
    match mode:
        case "floor":
            vat = size // 10
        case "half_up":
            vat = (size + 5) // 10
        case "ceil":
            vat = (size + 9) // 10
    return vat if supply >= 0 else -vat


def split_inclusive(total: int) -> tuple[int, int]:
    """A VAT-inclusive total in whole won as (supply, VAT): supply is floored at total x 10/11, VAT is the rest.

    The two always add up to the total. Negative totals are mirrored.
    """
    supply = abs(total) * 10 // 11
    if total < 0:
        supply = -supply
    return supply, total - supply


def spread(total: int, weights: Sequence[Decimal]) -> list[int]:
    """Divide whole `total` in proportion to `weights`: largest remainder first, ties to the earlier line.

    The parts always add up to `total`, and each differs from its exact share by less than one. Raises
    ValueError for a negative weight, and where there is something to spread but no weight to carry it.
    """
    if any(weight < 0 for weight in weights):
        raise ValueError("weights must not be negative")
    shares = _as_integers(weights)
    whole = sum(shares)
    if whole == 0:
        if total:
            raise ValueError("nothing to spread over: all weights are zero")
        return [0] * len(shares)
    size = abs(total)
    quotas = [divmod(size * share, whole) for share in shares]
    parts = [quotient for quotient, _ in quotas]
    by_remainder = sorted(range(len(parts)), key=lambda line: -quotas[line][1])
    for line in by_remainder[: size - sum(parts)]:
        parts[line] += 1
    return parts if total >= 0 else [-part for part in parts]


def _as_integers(weights: Sequence[Decimal]) -> list[int]:
    """The weights over one common power of ten."""
    exponents = [exact(weight).as_tuple().exponent for weight in weights]
    decimals = max((-exponent for exponent in exponents if isinstance(exponent, int)), default=0)
    return [int(weight.scaleb(max(decimals, 0), EXACT)) for weight in weights]
