"""What the catalogue's records refuse."""

import datetime
from decimal import Decimal
from typing import Any, cast

import pytest

from gateway.catalogue.model import FxRate, InputBounds, Price, Quantities, Unbounded


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": -1},
        {"prompt": 1.0},
        {"prompt": True},
        {"prompt": 5, "cached": 3, "cache_write_5m": 2, "cache_write_1h": 1},
        {"completion": 5, "reasoning": 3, "image": 3},
        {"search": -1},
    ],
)
def test_quantities_are_whole_numbers_whose_parts_fit_their_whole(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Quantities(**wrong)


def test_a_provider_that_contradicts_itself_loses_the_part_and_not_the_usage() -> None:
    usage = Quantities.clamped(100, 20, cached=80, cache_write_5m=50, reasoning=30, image=-4, search=2)
    assert usage == Quantities(prompt=100, completion=20, cached=80, cache_write_5m=20, reasoning=20, search=2)


def test_consistent_numbers_pass_clamping_unchanged() -> None:
    parts = {"cached": 3, "cache_write_5m": 2, "cache_write_1h": 1, "reasoning": 4, "image": 5, "search": 6}
    assert Quantities.clamped(10, 10, **parts) == Quantities(prompt=10, completion=10, **parts)


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_usd": Decimal(0)},
        {"output_usd": Decimal(-1)},
        {"input_usd": Decimal("0.0000001")},
        {"input_usd": Decimal("NaN")},
        {"input_usd": cast("Decimal", 0.5)},
        {"threshold": 200_000},
        {"threshold": 200_000, "over_input_usd": Decimal(1)},
        {"threshold": 0, "over_input_usd": Decimal(1), "over_output_usd": Decimal(1)},
    ],
)
def test_a_price_is_positive_has_six_decimals_and_a_whole_tier(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {
        "id": "p",
        "model": "m",
        "effective_from_ms": 0,
        "input_usd": Decimal(1),
        "output_usd": Decimal(2),
    }
    with pytest.raises(ValueError):
        Price(**{**right, **wrong})


@pytest.mark.parametrize("rate", ["0", "-1", "1400.00001", "Infinity"])
def test_a_rate_is_positive_and_has_four_decimals(rate: str) -> None:
    with pytest.raises(ValueError):
        FxRate(id="r", date=datetime.date(2026, 1, 2), rate=Decimal(rate), source="manual", effective_from_ms=0)


def test_an_input_bound_adds_up_every_part() -> None:
    bounds = InputBounds(byte=3, request=10, message=5, tool=100, image=1_000)
    assert bounds.tokens(utf8_bytes=7, messages=2, tools=3, images=1) == 21 + 10 + 10 + 300 + 1_000


def test_an_input_without_a_published_maximum_is_unbounded() -> None:
    with pytest.raises(Unbounded):
        InputBounds(image=None).tokens(10, 1, images=1)
    with pytest.raises(Unbounded):
        InputBounds(search=None).tokens(10, 1, searches=1)
    assert InputBounds(image=None, search=None).tokens(10, 1) == 34
