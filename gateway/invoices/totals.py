"""A month's exact sums turned into whole won, once, so that every way of adding the lines up gives the same total.

The order is fixed: the month's exact charge is floored to whole won once, the fraction goes to the rounding account,
VAT is worked out once on the whole, and only then are supply and VAT handed down to the lines by largest remainder.
A promotion reduces the supply on a line of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce

from gateway.money import EXACT, VatMode, split_inclusive, spread, vat_on, won_floor

ZERO = Decimal(0)


def add_exact(amounts: Iterable[Decimal]) -> Decimal:
    """The sum without losing a digit (any unit)."""
    return reduce(EXACT.add, amounts, ZERO)


@dataclass(frozen=True, slots=True)
class Amount:
    """Whole won: `supply` (supply amount, 공급가액) and `vat` (세액)."""

    supply: int = 0
    vat: int = 0

    @property
    def total(self) -> int:
        """What is to be paid, in whole won."""
        return self.supply + self.vat

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.supply + other.supply, self.vat + other.vat)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.supply - other.supply, self.vat - other.vat)

    def __neg__(self) -> Amount:
        return Amount(-self.supply, -self.vat)


NOTHING = Amount()


@dataclass(frozen=True, slots=True, kw_only=True)
class VatRule:
    """How a customer's VAT is worked out.

    `mode` rounds the tenth to whole won; `inclusive`: the charges already contain VAT; `zero_rated`: 영세율.
    """

    mode: VatMode = "floor"
    inclusive: bool = False
    zero_rated: bool = False

    def amount(self, won: int) -> Amount:
        """Supply and VAT of that many whole won (of supply, or of the total where charges include VAT).

        Neither part ever shrinks while `won` grows, which is why shares of an invoice are never negative.
        """
        if self.zero_rated:
            return Amount(won, 0)
        if self.inclusive:
            return Amount(*split_inclusive(won))
        return Amount(won, vat_on(won, self.mode))

    def charged(self, amount: Amount) -> int:
        """The side of `amount` that the exact charge is compared with (whole won)."""
        return amount.total if self.inclusive else amount.supply


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """The month's calls that share key, app, provider, model, prices and exchange rate.

    `exact` is their charge in won, every digit of it; prices in USD per 1M tokens, `rate` in won per USD;
    `prompt` includes `cached` (tokens). `cost_usd` and `cost_won` are what the provider charges us, None where unknown.
    """

    key: str
    model: str
    provider: str
    input_usd: Decimal
    output_usd: Decimal
    rate: Decimal
    exact: Decimal
    calls: int
    key_name: str = ""
    app: str = ""
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    cost_usd: Decimal | None = None
    cost_won: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding:
    """What paid for the month, in exact won: lots of prepaid credit by how they were bought, and `credit`, which is
    what was used on account (postpaid) and is still to be paid."""

    promotion: Decimal = ZERO
    transfer: Decimal = ZERO
    card: Decimal = ZERO
    credit: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        """All of it, in exact won."""
        return add_exact((self.promotion, self.transfer, self.card, self.credit))


@dataclass(frozen=True, slots=True)
class ChargedLine:
    """A usage line with its share of the invoice. `rounding` is its exact charge less what it was charged (won)."""

    usage: UsageLine
    amount: Amount
    rounding: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The sums of one invoice. Raises ValueError if any of its sums disagree, so that none that do can exist.

    `exact` is net of the promotion. `by_transfer`, `by_card` and `due` divide the whole by how it is paid; the first
    two have been received already.
    """

    rule: VatRule
    lines: tuple[ChargedLine, ...]
    exact: Decimal
    promotion_exact: Decimal
    promotion: Amount
    whole: Amount
    by_transfer: Amount
    by_card: Amount
    due: Amount

    def __post_init__(self) -> None:
        lines = sum((line.amount for line in self.lines), NOTHING)
        rounding = add_exact((*(line.rounding for line in self.lines), self.promotion_rounding))
        gross = add_exact(line.usage.exact for line in self.lines)
        if lines + self.promotion != self.whole:
            raise ValueError(f"lines {lines} and promotion {self.promotion} do not add up to {self.whole}")
        if self.by_transfer + self.by_card + self.due != self.whole:
            raise ValueError("what was received and what is due do not add up to the invoice")
        if EXACT.subtract(gross, self.promotion_exact) != self.exact or rounding != self.rounding:
            raise ValueError("the exact charges of the lines do not add up to the invoice")
        if not 0 <= self.rounding < 1:
            raise ValueError(f"{self.rounding} won is no remainder of rounding down")

    @property
    def rounding(self) -> Decimal:
        """What flooring left over (won, at least 0 and below 1): booked to the rounding account."""
        return EXACT.subtract(self.exact, Decimal(self.rule.charged(self.whole)))

    @property
    def promotion_rounding(self) -> Decimal:
        """The promotion line's part of `rounding` (won)."""
        return EXACT.minus(EXACT.add(self.promotion_exact, Decimal(self.rule.charged(self.promotion))))

    @property
    def usage(self) -> Amount:
        """The lines together, before the promotion."""
        return self.whole - self.promotion

    @property
    def received(self) -> Amount:
        """Paid in advance, by whatever means."""
        return self.by_transfer + self.by_card

    @property
    def taxable(self) -> Amount:
        """What a tax invoice is issued for: all but the part paid by card, whose slip is the tax record."""
        return self.whole - self.by_card


def compute(lines: Sequence[UsageLine], funding: Funding, rule: VatRule | None = None) -> Totals:
    """The invoice of a month's `lines`, paid for as `funding` says.

    Raises ValueError for negative charges or funds, and where the funds are not exactly what the lines cost.
    """
    rule = rule or VatRule()
    gross = add_exact(line.exact for line in lines)
    parts = (funding.promotion, funding.transfer, funding.card, funding.credit)
    if any(part < 0 for part in parts) or any(line.exact < 0 for line in lines):
        raise ValueError("a charge or a fund below zero")
    if funding.total != gross:
        raise ValueError(f"usage of {gross} won is paid for with {funding.total} won")
    net = EXACT.subtract(gross, funding.promotion)
    usage, whole = rule.amount(won_floor(gross)), rule.amount(won_floor(net))
    by_transfer, due, by_card = _parts((funding.transfer, funding.credit, funding.card), rule)
    return Totals(
        rule=rule,
        lines=_charged(lines, usage, rule),
        exact=net,
        promotion_exact=funding.promotion,
        promotion=whole - usage,
        whole=whole,
        by_transfer=by_transfer,
        by_card=by_card,
        due=due,
    )


def _charged(lines: Sequence[UsageLine], usage: Amount, rule: VatRule) -> tuple[ChargedLine, ...]:
    weights = [line.exact for line in lines]
    charged: list[ChargedLine] = []
    for line, supply, vat in zip(lines, spread(usage.supply, weights), spread(usage.vat, weights), strict=True):
        amount = Amount(supply, vat)
        rounding = EXACT.subtract(line.exact, Decimal(rule.charged(amount)))
        charged.append(ChargedLine(line, amount, rounding))
    return tuple(charged)


def _parts(funds: Sequence[Decimal], rule: VatRule) -> list[Amount]:
    """What each of `funds` pays for: its share is what it adds to the invoice of those before it.

    So the first two together, which a tax invoice is issued for, are the floor of their exact sum and its VAT.
    """
    amounts: list[Amount] = []
    exact, reached = ZERO, NOTHING
    for fund in funds:
        exact = EXACT.add(exact, fund)
        now = rule.amount(won_floor(exact))
        amounts.append(now - reached)
        reached = now
    return amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Lines that share `labels` (for example key, model and app), added up. Tokens, exact won, whole won."""

    labels: tuple[str, ...]
    calls: int
    prompt: int
    cached: int
    completion: int
    exact: Decimal
    amount: Amount


def grouped(lines: Iterable[ChargedLine], labels: Callable[[UsageLine], tuple[str, ...]]) -> list[Group]:
    """The lines added up by `labels`, dearest first. The groups' amounts add up to the lines'."""
    found: dict[tuple[str, ...], list[ChargedLine]] = {}
    for line in lines:
        found.setdefault(labels(line.usage), []).append(line)
    groups = [
        Group(
            labels=label,
            calls=sum(line.usage.calls for line in members),
            prompt=sum(line.usage.prompt for line in members),
            cached=sum(line.usage.cached for line in members),
            completion=sum(line.usage.completion for line in members),
            exact=add_exact(line.usage.exact for line in members),
            amount=sum((line.amount for line in members), NOTHING),
        )
        for label, members in found.items()
    ]
    groups.sort(key=lambda group: (-group.exact, group.labels))
    return groups
