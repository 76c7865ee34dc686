"""What a call may cost at most: the hold, over every model that may answer it, at the prices of one moment."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import msgspec

from api.dialects.chat import Size
from gateway.catalogue.model import InputBounds, Model, NoPrice, NoRate, Unbounded
from gateway.catalogue.pricing import hold_micro
from gateway.catalogue.snapshot import Snapshot, Terms
from gateway.errors import PermissionDenied, ServiceUnavailable
from gateway.money import won_text
from gateway.wire.job import JobTerms, Policy

LOOSE = InputBounds(image=4_096)
"""Stands in where the catalogue knows no bound and the organisation's holds are estimates only."""


class Quote(msgspec.Struct, frozen=True):
    """The hold (micro-won) and the terms it was made with; valid from and until in milliseconds since 1970.

    ``unit_micro`` is for one output token of every choice asked for.
    """

    input_bound: int
    input_micro: int
    unit_micro: int
    terms: dict[str, JobTerms]
    valid_from_ms: int
    valid_until_ms: int


def quote(snapshot: Snapshot, models: Sequence[Model], size: Size, choices: int, policy: Policy, at_ms: int) -> Quote:
    """The dearest of ``models`` decides. Raises ``PermissionDenied`` where a strict hold cannot be stated, and
    ``ServiceUnavailable`` where a price or rate is missing: what has no price is never free."""
    terms: dict[str, JobTerms] = {}
    bound = input_micro = unit_micro = since = 0
    until = 2**53 - 1
    for model in models:
        try:
            own = snapshot.terms_at(model.id, at_ms)
        except (NoPrice, NoRate) as exc:
            raise ServiceUnavailable("No price is in force for this model.") from exc
        tokens = input_bound(model, size, policy)
        hold = hold_micro(tokens, 0, own.price, own.rate.rate)
        bound = max(bound, tokens)
        input_micro = max(input_micro, hold.input_micro)
        unit_micro = max(unit_micro, hold.unit_output_micro)
        since, until = max(since, own.valid_from_ms), min(until, own.valid_until_ms)
        terms[model.id] = job_terms(own)
    return Quote(bound, input_micro, unit_micro * choices, terms, since, until)


def input_bound(model: Model, size: Size, policy: Policy) -> int:
    """At most how many input tokens this becomes. Raises ``PermissionDenied`` where that is unknown and has to be known."""
    bounds = model.input_bounds
    if bounds is None:
        if policy == "strict":
            raise PermissionDenied(
                f"{model.id} cannot be called with strict credit holds: its input has no upper bound."
            )
        bounds = LOOSE
    try:
        return bounds.tokens(size.text, size.messages, size.tools, size.images)
    except Unbounded as exc:
        if policy == "strict" and model.vision:
            raise PermissionDenied(
                f"Images to {model.id} cannot be held for strictly: they have no upper bound."
            ) from exc
        return LOOSE.tokens(size.text * bounds.byte, size.messages, size.tools, size.images)


@functools.lru_cache(4_096)
def job_terms(terms: Terms) -> JobTerms:
    """The terms as the job carries them."""
    price = terms.price
    over_in, over_out = price.over_input_usd, price.over_output_usd
    return JobTerms(
        price_id=price.id,
        rate_id=terms.rate.id,
        input_usd=won_text(price.input_usd),
        output_usd=won_text(price.output_usd),
        threshold=price.threshold,
        over_input_usd=None if over_in is None else won_text(over_in),
        over_output_usd=None if over_out is None else won_text(over_out),
        rate=won_text(terms.rate.rate),
    )
