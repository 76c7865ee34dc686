"""Tokens to won. The function that estimates a hold and the one that charges share their arithmetic.

A price in USD per 1M tokens times a rate in won per USD is a price in micro-won per token, which is why no
division is ever needed. Customers pay the listed input and output price for every kind of token: cached and
cache-write tokens are input, reasoning and image tokens are output, searches cost nothing.
"""

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Literal

import msgspec

from gateway.catalogue.model import Price, Quantities
from gateway.money import EXACT, micro_ceil, quantize_exact

Tier = Literal["base", "long"]


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What one request costs, with all that is needed to recompute it by hand.

    `exact` is in won with 16 decimals; `micro` the same rounded up to micro-won, for the credit window;
    `input_usd` and `output_usd` are the prices applied (USD per 1M tokens), `rate` in won per USD.
    """

    exact: Decimal
    micro: int
    tier: Tier
    input_usd: Decimal
    output_usd: Decimal
    rate: Decimal


class HoldQuote(msgspec.Struct, frozen=True, kw_only=True):
    """What to reserve, in micro-won: `total_micro = input_micro + cap * unit_output_micro` (`cap` in tokens)."""

    input_micro: int
    unit_output_micro: int
    cap: int
    total_micro: int


def charge(q: Quantities, price: Price, rate: Decimal, *, tier_input: int | None = None) -> Charge:
    """The exact charge for `q`. Raises ValueError if `price` or `rate` has more decimals than it may have.

    The whole input, cached part included, decides the tier; "exceeds" begins at threshold + 1. `tier_input` is
    that input, in tokens, where `q.prompt` is not: a continuation is charged no input, and keeps the tier that the
    original request fell into.
    """
    tier, input_usd, output_usd = tier_of(q.prompt if tier_input is None else tier_input, price)
    usd_micro = EXACT.add(EXACT.multiply(input_usd, q.prompt), EXACT.multiply(output_usd, q.completion))
    won = quantize_exact(EXACT.multiply(usd_micro, rate).scaleb(-6, EXACT))
    return Charge(exact=won, micro=micro_ceil(won), tier=tier, input_usd=input_usd, output_usd=output_usd, rate=rate)


def tier_of(input_tokens: int, price: Price) -> tuple[Tier, Decimal, Decimal]:
    """The tier that an input of that many tokens falls into, with its input and output price (USD per 1M)."""
    if price.threshold is None or input_tokens <= price.threshold:
        return "base", price.input_usd, price.output_usd
    assert price.over_input_usd is not None and price.over_output_usd is not None  # Price checks it
    return "long", price.over_input_usd, price.over_output_usd


def unit_micro_ceil(usd_per_1m: Decimal, rate: Decimal) -> int:
    """The price of one token in micro-won, rounded up."""
    return int(EXACT.multiply(usd_per_1m, rate).to_integral_value(ROUND_CEILING))


def dearest(price: Price) -> tuple[Decimal, Decimal]:
    """The highest input and the highest output price of any tier (USD per 1M tokens)."""
    if price.over_input_usd is None or price.over_output_usd is None:
        return price.input_usd, price.output_usd
    return max(price.input_usd, price.over_input_usd), max(price.output_usd, price.over_output_usd)


def hold_micro(input_tokens_bound: int, output_cap: int, price: Price, rate: Decimal) -> HoldQuote:
    """What to reserve for at most that many input and output tokens.

    `total_micro` is never below `charge()` of any usage within the two bounds: where the input may cross the
    threshold, the dearest tier counts, and both products are rounded up. Raises ValueError below zero.
    """
    if input_tokens_bound < 0 or output_cap < 0:
        raise ValueError("a hold needs bounds of at least zero tokens")
    crosses = price.threshold is not None and input_tokens_bound > price.threshold
    input_usd, output_usd = dearest(price) if crosses else (price.input_usd, price.output_usd)
    input_price = EXACT.multiply(EXACT.multiply(input_usd, rate), input_tokens_bound)
    input_micro = int(input_price.to_integral_value(ROUND_CEILING))
    unit = unit_micro_ceil(output_usd, rate)
    return HoldQuote(
        input_micro=input_micro,
        unit_output_micro=unit,
        cap=output_cap,
        total_micro=input_micro + unit * output_cap,
    )


def covering(quotes: Sequence[HoldQuote]) -> HoldQuote:
    """One hold that covers an answer to which several models may contribute, each quoted for the same cap.

    The input is charged to one of them, each output token to the one that produced it. Raises ValueError for no
    quotes or different caps.
    """
    if len({quote.cap for quote in quotes}) != 1:
        raise ValueError("a covering hold needs quotes for one and the same cap")
    input_micro = max(quote.input_micro for quote in quotes)
    unit = max(quote.unit_output_micro for quote in quotes)
    cap = quotes[0].cap
    return HoldQuote(input_micro=input_micro, unit_output_micro=unit, cap=cap, total_micro=input_micro + unit * cap)
