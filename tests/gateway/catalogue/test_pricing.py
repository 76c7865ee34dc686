"""Tokens to won: published examples, tiers, and the promise that a hold covers its charge."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalogue.model import Price, Quantities
from gateway.catalogue.pricing import charge, covering, dearest, hold_micro, unit_micro_ceil
from gateway.money import won_text

usd = st.decimals("0.000001", "200", places=6)
won_per_usd = st.decimals("0.0001", "20000", places=4)
tokens = st.integers(0, 3_000_000)


def price(input_usd: str, output_usd: str, long: tuple[int, str, str] | None = None) -> Price:
    return Price(
        id="p",
        model="m",
        effective_from_ms=0,
        input_usd=Decimal(input_usd),
        output_usd=Decimal(output_usd),
        threshold=long[0] if long else None,
        over_input_usd=Decimal(long[1]) if long else None,
        over_output_usd=Decimal(long[2]) if long else None,
    )


@st.composite
def prices(draw: st.DrawFn) -> Price:
    tiered = draw(st.booleans())
    return Price(
        id="p",
        model="m",
        effective_from_ms=0,
        input_usd=draw(usd),
        output_usd=draw(usd),
        threshold=draw(st.integers(1, 2_000_000)) if tiered else None,
        over_input_usd=draw(usd) if tiered else None,
        over_output_usd=draw(usd) if tiered else None,
    )


@pytest.mark.parametrize(
    ("prompt", "completion", "listed", "rate", "won", "micro"),
    [
        (1_234, 567, price("0.075", "0.30"), "1400.60", "0.36786759", 367_868),
        (1_000, 500, price("2.5", "10"), "1350", "10.125", 10_125_000),
        (0, 0, price("2.5", "10"), "1350", "0", 0),
        (1, 0, price("0.000001", "1"), "0.0001", "0.0000000000000001", 1),
    ],
)
def test_published_examples_to_the_last_digit(
    prompt: int, completion: int, listed: Price, rate: str, won: str, micro: int
) -> None:
    charged = charge(Quantities(prompt=prompt, completion=completion), listed, Decimal(rate))
    assert won_text(charged.exact) == won
    assert charged.micro == micro
    assert charged.exact.as_tuple().exponent == -16


@pytest.mark.parametrize(
    ("prompt", "tier", "usd_in", "usd_out", "won"),
    [
        (199_999, "base", "3", "15", "897.74601"),
        (200_000, "base", "3", "15", "897.75"),
        (200_001, "long", "6", "22.5", "1745.63298"),
    ],
)
def test_both_prices_change_for_the_whole_request_only_past_the_threshold(
    prompt: int, tier: str, usd_in: str, usd_out: str, won: str
) -> None:
    sonnet = price("3", "15", (200_000, "6", "22.5"))
    charged = charge(Quantities(prompt=prompt, completion=5_000), sonnet, Decimal(1330))
    assert (charged.tier, charged.input_usd, charged.output_usd) == (tier, Decimal(usd_in), Decimal(usd_out))
    assert won_text(charged.exact) == won


def test_the_cached_part_counts_towards_the_tier_and_costs_as_input() -> None:
    sonnet = price("3", "15", (200_000, "6", "22.5"))
    warm = charge(Quantities(prompt=200_001, cached=199_000, cache_write_5m=1_000), sonnet, Decimal(1400))
    cold = charge(Quantities(prompt=200_001), sonnet, Decimal(1400))
    assert warm.tier == "long"
    assert warm == cold


def test_reasoning_image_and_search_cost_nothing_beyond_the_listed_prices() -> None:
    listed = price("2", "8")
    plain = charge(Quantities(prompt=10, completion=300), listed, Decimal(1400))
    rich = charge(Quantities(prompt=10, completion=300, reasoning=200, image=50, search=7), listed, Decimal(1400))
    assert rich == plain


def test_a_continuation_is_charged_no_input_and_keeps_the_tier_of_the_original_request() -> None:
    sonnet = price("3", "15", (200_000, "6", "22.5"))
    whole = charge(Quantities(prompt=200_001, completion=900), sonnet, Decimal("1400.6"))
    begun = charge(Quantities(prompt=200_001, completion=400), sonnet, Decimal("1400.6"))
    continued = charge(Quantities(completion=500), sonnet, Decimal("1400.6"), tier_input=200_001)
    assert continued.tier == "long"
    assert begun.exact + continued.exact == whole.exact


@pytest.mark.parametrize("rate", ["1400.00001", "0.00001"])
def test_a_rate_with_too_many_decimals_raises_rather_than_rounds(rate: str) -> None:
    with pytest.raises(ValueError, match="38,16"):
        charge(Quantities(prompt=1), price("0.000001", "1"), Decimal(rate))


@given(listed=prices(), rate=won_per_usd, prompt=tokens, completion=tokens)
def test_a_charge_is_the_exact_fraction(listed: Price, rate: Decimal, prompt: int, completion: int) -> None:
    charged = charge(Quantities(prompt=prompt, completion=completion), listed, rate)
    usd_micro = prompt * Fraction(charged.input_usd) + completion * Fraction(charged.output_usd)
    assert Fraction(charged.exact) == usd_micro * Fraction(rate) / 10**6
    assert 0 <= charged.micro - Fraction(charged.exact) * 10**6 < 1


@given(listed=prices(), rate=won_per_usd, prompt=tokens, parts=st.lists(st.integers(0, 10**6), max_size=5))
def test_charging_the_output_in_parts_is_charging_it_at_once(
    listed: Price, rate: Decimal, prompt: int, parts: list[int]
) -> None:
    whole = charge(Quantities(prompt=prompt, completion=sum(parts)), listed, rate).exact
    total = charge(Quantities(prompt=prompt), listed, rate).exact
    for part in parts:
        total += charge(Quantities(completion=part), listed, rate, tier_input=prompt).exact
    assert total == whole


@given(listed=prices(), rate=won_per_usd, bound=tokens, cap=tokens, data=st.data())
def test_a_hold_is_never_below_the_charge_of_any_usage_within_it(
    listed: Price, rate: Decimal, bound: int, cap: int, data: st.DataObject
) -> None:
    near = [bound, 0] + ([min(bound, listed.threshold)] if listed.threshold else [])
    prompt = data.draw(st.one_of(st.integers(0, bound), st.sampled_from(near)))
    completion = data.draw(st.one_of(st.integers(0, cap), st.just(cap)))
    hold = hold_micro(bound, cap, listed, rate)
    assert hold.total_micro >= charge(Quantities(prompt=prompt, completion=completion), listed, rate).micro
    assert hold.total_micro == hold.input_micro + hold.unit_output_micro * hold.cap


@given(first=prices(), second=prices(), rate=won_per_usd, bound=tokens, cap=tokens, data=st.data())
def test_a_covering_hold_covers_an_answer_begun_by_one_model_and_continued_by_another(
    first: Price, second: Price, rate: Decimal, bound: int, cap: int, data: st.DataObject
) -> None:
    prompt = data.draw(st.integers(0, bound))
    delivered = data.draw(st.integers(0, cap))
    hold = covering([hold_micro(bound, cap, listed, rate) for listed in (first, second)])
    begun = charge(Quantities(prompt=prompt, completion=delivered), first, rate)
    rest = charge(Quantities(completion=cap - delivered), second, rate, tier_input=prompt)
    assert Fraction(hold.total_micro) >= Fraction(begun.exact + rest.exact) * 10**6


def test_a_hold_that_cannot_cross_the_threshold_takes_the_base_price() -> None:
    sonnet = price("3", "15", (200_000, "6", "22.5"))
    assert hold_micro(200_000, 10, sonnet, Decimal(1000)).input_micro == 200_000 * 3_000
    assert hold_micro(200_001, 10, sonnet, Decimal(1000)).input_micro == 200_001 * 6_000
    assert hold_micro(200_001, 10, sonnet, Decimal(1000)).unit_output_micro == 22_500


def test_the_dearest_of_each_price_is_taken_even_where_a_tier_lowers_one() -> None:
    assert dearest(price("2", "8")) == (Decimal(2), Decimal(8))
    assert dearest(price("2", "8", (10, "1", "9"))) == (Decimal(2), Decimal(9))


def test_holds_refuse_negative_bounds_and_mixed_caps() -> None:
    with pytest.raises(ValueError, match="at least zero"):
        hold_micro(-1, 5, price("1", "1"), Decimal(1))
    with pytest.raises(ValueError, match="same cap"):
        covering([hold_micro(1, 5, price("1", "1"), Decimal(1)), hold_micro(1, 6, price("1", "1"), Decimal(1))])
    with pytest.raises(ValueError, match="same cap"):
        covering([])


def test_the_unit_price_is_micro_won_per_token_rounded_up() -> None:
    assert unit_micro_ceil(Decimal(10), Decimal(1470)) == 14_700
    assert unit_micro_ceil(Decimal("0.075"), Decimal("1400.60")) == 106  # 105.045
