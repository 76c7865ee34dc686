"""Korean numbers as the tax office writes them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.korea import (
    business_number,
    is_approval_number,
    is_business_number,
    show_business_number,
    show_won,
)


@pytest.mark.parametrize("number", ["123-45-67891", "999-88-12349", "1234567891", " 123-45-67891 "])
def test_right_business_numbers(number: str) -> None:
    assert is_business_number(number)
    assert len(business_number(number)) == 10


@pytest.mark.parametrize(
    "number",
    [
        "123-45-67890",
        "123-45-6789",
        "12345-67891",
        "000-00-00000",
        "",
        "１２３4567891",
        "abc",
    ],
)
def test_wrong_business_numbers(number: str) -> None:
    assert not is_business_number(number)
    with pytest.raises(ValueError, match="business registration number"):
        business_number(number)


def test_exactly_one_check_digit_is_right() -> None:
    for stem in ("123-45-6789", "999-88-1234", "101-81-0000", "220-87-6543"):
        assert sum(is_business_number(f"{stem}{digit}") for digit in range(10)) == 1


def test_a_business_number_is_shown_with_hyphens() -> None:
    assert show_business_number("1234567891") == "123-45-67891"


def test_approval_numbers_may_hold_letters() -> None:
    assert is_approval_number("202611304100020300000a5d")
    assert is_approval_number("202611304100020300000123")
    assert not is_approval_number("20261130410002030000012")
    assert not is_approval_number("2026113X410002030000012a")
    assert not is_approval_number("202611304100020300000a5d\n")


@pytest.mark.parametrize(
    ("won", "shown"),
    [
        (Decimal("1837.50"), "₩1,838"),
        (Decimal("1837.49"), "₩1,837"),
        (0, "₩0"),
        (Decimal("-1837.5"), "-₩1,838"),
        (Decimal("-0.4"), "₩0"),
    ],
)
def test_won_has_no_decimals(won: Decimal | int, shown: str) -> None:
    assert show_won(won) == shown
