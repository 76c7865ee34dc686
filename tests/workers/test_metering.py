"""Tokens to won: exact, and under a strict hold never above it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalogue.model import Quantities
from gateway.catalogue.pricing import charge
from gateway.money import micro_ceil
from gateway.wire.job import JobTerms
from workers import estimate
from workers.metering import NOTHING, Use, bill, price_of

PLAIN = JobTerms("p", "r", "0.075", "0.30", None, None, None, "1400.60")
TIERED = JobTerms("p2", "r", "1.25", "10", 200_000, "2.5", "15", "1470")
TERMS = {"plain": PLAIN, "tiered": TIERED}
tokens = st.integers(0, 2_000_000)


def test_the_published_example_comes_out_to_the_last_digit() -> None:
    made = bill([Use("plain", 1234, 567)], TERMS)
    assert (made.won, made.micro, made.loss_won) == ("0.36786759", 367_868, "0")
    assert Decimal(made.usd) * Decimal("1400.60") == Decimal(made.won)


def test_nothing_used_costs_nothing() -> None:
    assert bill([], TERMS) == NOTHING


@pytest.mark.parametrize(("prompt", "tier"), [(199_999, "base"), (200_000, "base"), (200_001, "long")])
def test_the_input_decides_the_tier_of_every_part(prompt: int, tier: str) -> None:
    parts = bill([Use("tiered", prompt, 10), Use("tiered", 0, 10)], TERMS).parts
    assert [part.tier for part in parts] == [tier, tier]


@given(prompt=tokens, completion=tokens, model=st.sampled_from(["plain", "tiered"]))
def test_one_part_costs_what_the_catalogue_charges(prompt: int, completion: int, model: str) -> None:
    exact = charge(
        Quantities(prompt=prompt, completion=completion), price_of(model, TERMS[model]), Decimal(TERMS[model].rate)
    )
    made = bill([Use(model, prompt, completion)], TERMS)
    assert (Decimal(made.won), made.micro) == (exact.exact, exact.micro)


@given(prompt=tokens, first=tokens, second=tokens, hold=st.integers(0, 10**11))
def test_a_strict_charge_fits_its_hold_and_rerates_from_its_parts(
    prompt: int, first: int, second: int, hold: int
) -> None:
    uses = [Use("tiered", prompt, first), Use("plain", 0, second)]
    made, free = bill(uses, TERMS, hold), bill(uses, TERMS)
    assert made.micro <= hold
    assert Decimal(made.won) + Decimal(made.loss_won) == Decimal(free.won)
    total = Decimal(0)
    for part in made.parts:
        usd = part.prompt * Decimal(part.input_usd) + part.completion * Decimal(part.output_usd)
        assert Decimal(part.won) == usd * Decimal(part.rate) / 1_000_000
        total += Decimal(part.won)
    assert total == Decimal(made.won)
    assert micro_ceil(total) == made.micro


def test_an_estimate_counts_text_and_nothing_else() -> None:
    image = '{"type":"image_url"}'
    messages = f'[{{"role":"user","content":"안녕하세요"}},{{"content":[{{"type":"text","text":"abcd"}},{image}]}}]'
    assert estimate.of_messages(messages.encode()) == (15 + 4) // 4
    assert estimate.of_messages(b"nonsense") == 0
    assert (
        estimate.of_choices(b'[{"message":{"content":"abcdefgh","tool_calls":[{"function":{"arguments":"{}ab"}}]}}]')
        == 3
    )
