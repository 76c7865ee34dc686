"""Sums of an invoice: the published vectors, and that everything adds up whatever the month was."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.invoices.totals import NOTHING, Amount, Funding, UsageLine, VatRule, add_exact, compute, grouped
from gateway.money import EXACT, VatMode
from tests.gateway.invoices.samples import line


def postpaid(*exact: str, rule: VatRule | None = None):
    lines = [line(amount, key=f"key-{place}") for place, amount in enumerate(exact)]
    return compute(lines, Funding(credit=add_exact(usage.exact for usage in lines)), rule)


@pytest.mark.parametrize(("supply", "vat"), [(123_456, 12_345), (10_005, 1_000), (99_999, 9_999), (9, 0)])
def test_vat_is_a_tenth_of_the_supply_rounded_down_once(supply: int, vat: int):
    totals = postpaid(f"{supply}.999")
    assert totals.whole == Amount(supply, vat)
    assert totals.rounding == Decimal("0.999")
    assert totals.due == totals.whole


def test_a_total_that_includes_vat_is_taken_apart():
    totals = postpaid("99999.5", "0.5", rule=VatRule(inclusive=True))
    assert totals.whole == Amount(90_909, 9_091)
    assert totals.rounding == 0


def test_zero_rated_supply_bears_no_vat():
    assert postpaid("123456.7", rule=VatRule(zero_rated=True)).whole == Amount(123_456, 0)


@pytest.mark.parametrize(("mode", "vat"), [("floor", 1_000), ("half_up", 1_001), ("ceil", 1_001)])
def test_the_rounding_mode_of_vat_is_the_customers(mode: VatMode, vat: int):
    assert postpaid("10005", rule=VatRule(mode=mode)).whole.vat == vat


def test_fractions_of_lines_are_floored_together_and_not_one_by_one():
    totals = postpaid("0.6", "0.6", "0.6")
    assert totals.whole == Amount(1, 0)
    assert [charged.amount.supply for charged in totals.lines] == [1, 0, 0]
    assert totals.rounding == Decimal("0.8")


def test_a_promotion_reduces_the_supply_on_a_line_of_its_own():
    lines = [line("1234.9")]
    totals = compute(lines, Funding(promotion=Decimal("234.5"), transfer=Decimal("1000.4")))
    assert totals.whole == Amount(1000, 100)
    assert totals.usage == Amount(1234, 123)
    assert totals.promotion == Amount(-234, -23)
    assert totals.by_transfer == Amount(1000, 100)
    assert totals.due == NOTHING


def test_a_month_paid_by_promotion_alone_charges_nothing():
    totals = compute([line("1234.9")], Funding(promotion=Decimal("1234.9")))
    assert (totals.whole, totals.due, totals.rounding) == (NOTHING, NOTHING, 0)


def test_a_month_paid_in_three_ways_is_divided_and_the_taxed_part_has_its_own_floored_vat():
    funds = Funding(transfer=Decimal("400.25"), card=Decimal("300.50"), credit=Decimal("299.25"))
    totals = compute([line("1000")], funds)
    assert totals.whole == Amount(1000, 100)
    assert totals.by_transfer + totals.by_card + totals.due == totals.whole
    assert totals.taxable.supply == 1000 - totals.by_card.supply
    assert totals.taxable.vat == totals.taxable.supply // 10


def test_usage_that_nothing_paid_for_is_refused():
    with pytest.raises(ValueError, match="is paid for with"):
        compute([line("10")], Funding(transfer=Decimal("9.99")))


def test_a_negative_charge_is_refused():
    with pytest.raises(ValueError, match="below zero"):
        compute([line("-1")], Funding(credit=Decimal(-1)))


def test_an_empty_month_is_zero():
    totals = compute([], Funding())
    assert (totals.whole, totals.rounding, totals.lines) == (NOTHING, 0, ())


def test_groups_add_up_to_the_lines_and_the_dearest_comes_first():
    lines = [line("1.5", key="a"), line("2.5", key="b", calls=3), line("1.7", key="a", model="m/x")]
    totals = compute(lines, Funding(credit=Decimal("5.7")))
    groups = grouped(totals.lines, lambda usage: (usage.key,))
    assert [(group.labels, group.exact, group.calls) for group in groups] == [
        (("a",), Decimal("3.2"), 2),
        (("b",), Decimal("2.5"), 3),
    ]
    assert sum((group.amount for group in groups), NOTHING) == totals.usage


won = st.decimals(min_value=0, max_value=10**9, places=16, allow_nan=False, allow_infinity=False)
rules = st.builds(
    VatRule,
    mode=st.sampled_from(("floor", "half_up", "ceil")),
    inclusive=st.booleans(),
    zero_rated=st.booleans(),
)


@st.composite
def months(draw: st.DrawFn) -> tuple[list[UsageLine], Funding]:
    """Lines, and funds that come to the same: the month's sum cut at three places."""
    lines = [
        line(format(amount, "f"), key=f"k{place % 3}") for place, amount in enumerate(draw(st.lists(won, max_size=12)))
    ]
    gross = add_exact(usage.exact for usage in lines)
    cuts = sorted(EXACT.multiply(gross, draw(st.decimals(min_value=0, max_value=1, places=4))) for _ in range(3))
    parts = [EXACT.subtract(high, low) for low, high in zip([Decimal(0), *cuts], [*cuts, gross], strict=True)]
    return lines, Funding(promotion=parts[0], transfer=parts[1], card=parts[2], credit=parts[3])


@settings(max_examples=200)
@given(month=months(), rule=rules)
def test_every_way_of_adding_up_an_invoice_gives_its_total(month: tuple[list[UsageLine], Funding], rule: VatRule):
    lines, funds = month
    totals = compute(lines, funds, rule)
    net = EXACT.subtract(funds.total, funds.promotion)
    assert rule.charged(totals.whole) == int(net)
    assert 0 <= totals.rounding < 1
    assert sum((charged.amount for charged in totals.lines), totals.promotion) == totals.whole
    assert totals.received + totals.due == totals.whole
    for part in (totals.by_transfer, totals.by_card, totals.due, totals.taxable):
        assert part.supply >= 0 and part.vat >= 0
    assert totals.promotion.supply <= 0 and totals.promotion.vat <= 0
    assert rule.charged(totals.taxable) == int(EXACT.add(funds.transfer, funds.credit))
    if not rule.inclusive and not rule.zero_rated and rule.mode == "floor":
        assert totals.taxable.vat == totals.taxable.supply // 10
        assert all(abs(charged.rounding) < 2 for charged in totals.lines)


@given(month=months(), rule=rules)
def test_the_same_month_gives_the_same_invoice(month: tuple[list[UsageLine], Funding], rule: VatRule):
    assert compute(*month, rule) == compute(*month, rule)
