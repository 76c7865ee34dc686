"""Tokens to won for one job, at the terms frozen at its admission.

An answer may have parts by several models. The input is charged in the first part only and decides the tier of every
part. Under a strict hold the charge never passes the hold: the parts shrink until they fit, so that the charge is
still exactly what its parts say, and the rest is a loss of ours.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal

import msgspec

from gateway.catalogue.model import Price
from gateway.catalogue.pricing import tier_of
from gateway.money import EXACT, micro_ceil, quantize_exact, won_text
from gateway.wire.event import Part
from gateway.wire.job import JobTerms

_ZERO = Decimal(0)


class Use(msgspec.Struct, frozen=True):
    """What one model contributed: input tokens (0 for a continuation) and output tokens."""

    model: str
    prompt: int
    completion: int


class Bill(msgspec.Struct, frozen=True):
    """What a job costs: parts, exact won and USD as text, micro-won for the window, and what was not charged."""

    parts: list[Part]
    won: str
    usd: str
    micro: int
    loss_won: str


NOTHING = Bill([], "0", "0", 0, "0")


class _Priced(msgspec.Struct, frozen=True):
    use: Use
    terms: JobTerms
    tier: str
    input_usd: Decimal
    output_usd: Decimal
    rate: Decimal

    def usd_micro(self, prompt: int, completion: int) -> Decimal:
        """Micro-USD: tokens times USD per 1M."""
        return EXACT.add(EXACT.multiply(self.input_usd, prompt), EXACT.multiply(self.output_usd, completion))

    def won_micro(self, prompt: int, completion: int) -> Decimal:
        """Micro-won, exact."""
        return EXACT.multiply(self.usd_micro(prompt, completion), self.rate)


@functools.lru_cache(1_024)  # most calls of a minute are made at the same few terms
def price_of(model: str, terms: JobTerms) -> Price:
    """The frozen terms as the catalogue's price."""
    return Price(
        id=terms.price_id,
        model=model,
        effective_from_ms=0,
        input_usd=Decimal(terms.input_usd),
        output_usd=Decimal(terms.output_usd),
        threshold=terms.threshold,
        over_input_usd=None if terms.over_input_usd is None else Decimal(terms.over_input_usd),
        over_output_usd=None if terms.over_output_usd is None else Decimal(terms.over_output_usd),
    )


def bill(uses: Sequence[Use], terms: Mapping[str, JobTerms], most_micro: int | None = None) -> Bill:
    """The charge for `uses`, the first of which carries the input.

    Args:
        most_micro: the strict hold in micro-won; None charges whatever was used.
    """
    if not uses:
        return NOTHING
    input_tokens = uses[0].prompt
    priced = [_priced(use, terms[use.model], input_tokens) for use in uses]
    full = sum((p.won_micro(p.use.prompt, p.use.completion) for p in priced), _ZERO)
    loss = "0"
    if most_micro is not None and full.to_integral_value(ROUND_CEILING) > most_micro:
        priced = _fit(priced, Decimal(most_micro))
        kept = sum((p.won_micro(p.use.prompt, p.use.completion) for p in priced), _ZERO)
        loss = won_text((full - kept).scaleb(-6, EXACT))
    parts = [_part(p) for p in priced]
    won = quantize_exact(sum((Decimal(part.won) for part in parts), _ZERO))
    usd = sum((p.usd_micro(p.use.prompt, p.use.completion) for p in priced), _ZERO).scaleb(-6, EXACT)
    return Bill(parts, won_text(won), won_text(usd), micro_ceil(won), loss)


def split(charge: Bill, uses: Sequence[Use]) -> list[str]:
    """What of the charge falls on each of `uses`, the first of which carries the input: exact won, together the charge.

    Where a strict hold cut the charge, the last ones pay less.
    """
    parts = {part.model: part for part in charge.parts}
    left = {part.model: part.completion for part in charge.parts}
    found: list[str] = []
    for i, use in enumerate(uses):
        part = parts.get(use.model)
        if part is None:
            found.append("0")
            continue
        completion = min(use.completion, left[use.model])
        left[use.model] -= completion
        usd_micro = EXACT.add(
            EXACT.multiply(Decimal(part.input_usd), part.prompt if i == 0 else 0),
            EXACT.multiply(Decimal(part.output_usd), completion),
        )
        found.append(won_text(quantize_exact(EXACT.multiply(usd_micro, Decimal(part.rate)).scaleb(-6, EXACT))))
    return found


def _priced(use: Use, terms: JobTerms, input_tokens: int) -> _Priced:
    tier, input_usd, output_usd = tier_of(input_tokens, price_of(use.model, terms))
    return _Priced(use, terms, tier, input_usd, output_usd, Decimal(terms.rate))


def _fit(priced: list[_Priced], most: Decimal) -> list[_Priced]:
    """Cuts output from the last part backwards, then input, until the exact charge is at most `most` micro-won."""
    fitted = list(priced)
    for field in ("completion", "prompt"):
        for i in range(len(fitted) - 1, -1, -1):
            others = sum((p.won_micro(p.use.prompt, p.use.completion) for j, p in enumerate(fitted) if j != i), _ZERO)
            fitted[i] = _cut(fitted[i], field, most - others)
    return fitted


def _cut(p: _Priced, field: str, room: Decimal) -> _Priced:
    prompt, completion = p.use.prompt, p.use.completion
    if p.won_micro(prompt, completion) <= room:
        return p
    if field == "completion":
        left = room - p.won_micro(prompt, 0)
        completion = _affordable(left, p.output_usd * p.rate, completion)
    else:
        left = room - p.won_micro(0, completion)
        prompt = _affordable(left, p.input_usd * p.rate, prompt)
    return msgspec.structs.replace(p, use=Use(p.use.model, prompt, completion))


def _affordable(micro: Decimal, unit: Decimal, most: int) -> int:
    return max(0, min(most, int(micro // unit))) if micro > 0 else 0


def _part(p: _Priced) -> Part:
    won = quantize_exact(p.won_micro(p.use.prompt, p.use.completion).scaleb(-6, EXACT))
    return Part(
        model=p.use.model,
        price_id=p.terms.price_id,
        rate_id=p.terms.rate_id,
        prompt=p.use.prompt,
        completion=p.use.completion,
        input_usd=won_text(p.input_usd),
        output_usd=won_text(p.output_usd),
        rate=p.terms.rate,
        tier="long" if p.tier == "long" else "base",
        won=won_text(won),
    )
