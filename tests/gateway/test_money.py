"""Exactness and the few places that round."""

from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import money
from gateway.money import exact


@pytest.mark.parametrize("text", ["0", "1400.60", "-3.5", "0.000001", "123456789012345678.1234567890123456"])
def test_exact_keeps_every_digit_of_plain_text(text: str) -> None:
    assert str(exact(text)) == text


@pytest.mark.parametrize(
    "value",
    [
        0.1,
        1.0,
        True,
        None,
        "",
        " 1",
        "1 ",
        "1,400.60",
        "+1",
        "1e3",
        "1_000",
        "NaN",
        "Infinity",
        ".5",
        "5.",
        "١٢",
        "1" * 41,
    ]
    + [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1E+61"), Decimal("1E-61"), 10**61],
)
def test_exact_refuses_floats_and_everything_that_is_not_a_plain_finite_number(value: object) -> None:
    with pytest.raises(ValueError):
        exact(cast("Any", value))


def test_sixteen_decimals_fit_the_column_and_a_seventeenth_raises_instead_of_rounding() -> None:
    assert str(money.quantize_exact(Decimal("0.36786759"))) == "0.3678675900000000"
    assert str(money.quantize_exact(Decimal("0.1234567890123456"))) == "0.1234567890123456"
    with pytest.raises(ValueError, match="38,16"):
        money.quantize_exact(Decimal("0.12345678901234567"))


def test_more_than_22_whole_digits_do_not_fit_the_column() -> None:
    assert money.quantize_exact(Decimal(10**22 - 1)) == 10**22 - 1
    with pytest.raises(ValueError, match="38,16"):
        money.quantize_exact(Decimal(10**22))


@given(
    tokens=st.integers(0, 10**10),
    price=st.decimals(0, 999_999, places=6),
    rate=st.decimals(0, 99_999, places=4),
)
def test_a_product_of_tokens_price_and_rate_always_fits_the_column(tokens: int, price: Decimal, rate: Decimal) -> None:
    won = money.EXACT.multiply(money.EXACT.multiply(price, rate), tokens).scaleb(-6, money.EXACT)
    if won < 10**22:
        assert Fraction(money.quantize_exact(won)) == Fraction(price) * Fraction(rate) * tokens / 10**6


@pytest.mark.parametrize(
    ("won", "micro"),
    [("0", 0), ("0.0000000000000001", 1), ("0.36786759", 367_868), ("10.125", 10_125_000), ("0.000001", 1)]
    + [("9000000000", 9 * 10**15), ("-0.0000005", 0), ("-1.0000015", -1_000_001)],
)
def test_micro_won_are_rounded_up(won: str, micro: int) -> None:
    assert money.micro_ceil(Decimal(won)) == micro


@pytest.mark.parametrize(
    ("won", "floored", "shown"),
    [("0", 0, 0), ("220.5", 220, 221), ("1837.5", 1837, 1838), ("110.25", 110, 110), ("0.9999999999999999", 0, 1)]
    + [("-0.5", -1, -1), ("123456789012345678901.5", 123456789012345678901, 123456789012345678902)],
)
def test_whole_won_are_floored_for_invoices_and_rounded_half_up_for_display(won: str, floored: int, shown: int) -> None:
    assert money.won_floor(Decimal(won)) == floored
    assert money.won_half_up(Decimal(won)) == shown


@pytest.mark.parametrize(
    ("won", "text"),
    [("0.3678675900000000", "0.36786759"), ("10.1250", "10.125"), ("0.0000000000000000", "0"), ("-0.00", "0")]
    + [("1E+3", "1000"), ("14700.0", "14700"), ("1E-16", "0.0000000000000001"), ("-2.50", "-2.5")]
    + [("1234567890123456789012.1234567890123456", "1234567890123456789012.1234567890123456")],
)
def test_won_text_is_exact_plain_and_short(won: str, text: str) -> None:
    assert money.won_text(Decimal(won)) == text


@pytest.mark.parametrize(("supply", "vat"), [(123_456, 12_345), (10_005, 1_000), (99_999, 9_999), (9, 0), (0, 0)])
def test_vat_is_floored_unless_configured_otherwise(supply: int, vat: int) -> None:
    assert money.vat_on(supply) == vat


@pytest.mark.parametrize(
    ("supply", "floor", "half_up", "ceil"),
    [(10_005, 1_000, 1_001, 1_001), (10_004, 1_000, 1_000, 1_001), (10, 1, 1, 1)],
)
def test_the_three_vat_modes(supply: int, floor: int, half_up: int, ceil: int) -> None:
    assert [money.vat_on(supply, "floor"), money.vat_on(supply, "half_up"), money.vat_on(supply, "ceil")] == [
        floor,
        half_up,
        ceil,
    ]


@given(supply=st.integers(0, 10**12), mode=st.sampled_from(["floor", "half_up", "ceil"]))
def test_a_reversal_cancels_its_vat(supply: int, mode: money.VatMode) -> None:
    assert money.vat_on(supply, mode) + money.vat_on(-supply, mode) == 0
    assert abs(money.vat_on(supply, mode) * 10 - supply) < 10


@pytest.mark.parametrize(
    ("total", "parts"),
    [(100_000, (90_909, 9_091)), (110_000, (100_000, 10_000)), (0, (0, 0)), (1, (0, 1)), (-11, (-10, -1))],
)
def test_an_inclusive_total_is_split_without_losing_a_won(total: int, parts: tuple[int, int]) -> None:
    assert money.split_inclusive(total) == parts
    assert sum(parts) == total


def test_spread_gives_the_odd_won_to_the_largest_remainder_and_ties_to_the_earlier_line() -> None:
    assert money.spread(10, [Decimal("1.9"), Decimal("1.1"), Decimal(1)]) == [5, 3, 2]
    assert money.spread(2, [Decimal(1)] * 3) == [1, 1, 0]
    assert money.spread(-2, [Decimal(1)] * 3) == [-1, -1, 0]
    assert money.spread(0, []) == []
    assert money.spread(0, [Decimal(0)]) == [0]


def test_spread_refuses_what_it_cannot_divide() -> None:
    with pytest.raises(ValueError, match="nothing to spread"):
        money.spread(1, [Decimal(0), Decimal(0)])
    with pytest.raises(ValueError, match="negative"):
        money.spread(1, [Decimal(2), Decimal(-1)])


@given(
    total=st.integers(-(10**12), 10**12),
    weights=st.lists(st.decimals(0, 10**9, places=16), min_size=1, max_size=30),
)
def test_spread_adds_up_and_stays_within_one_of_the_exact_share(total: int, weights: list[Decimal]) -> None:
    whole = sum(map(Fraction, weights))
    if whole == 0:
        return
    parts = money.spread(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(weight) * total / whole) < 1
