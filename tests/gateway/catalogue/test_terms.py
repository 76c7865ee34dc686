"""Which price and which rate hold at which moment."""

import dataclasses
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalogue.model import FxRate, NoPrice, NoRate, Price
from gateway.catalogue.snapshot import FOREVER_MS, Snapshot

from .conftest import at, rate

FRIDAY = rate("fri", "2026-01-02", "1440.5", "2026-01-02T11:00")
MONDAY = rate("mon", "2026-01-05", "1450", "2026-01-05T11:02")


def price(id: str, from_ms: int, input_usd: str = "1") -> Price:
    return Price(id=id, model="a/m", effective_from_ms=from_ms, input_usd=Decimal(input_usd), output_usd=Decimal(2))


def snapshot(prices: tuple[Price, ...], rates: tuple[FxRate, ...]) -> Snapshot:
    return Snapshot(version="t", models={}, prices={"a/m": prices}, rates=rates)


def test_a_price_holds_from_its_first_millisecond_until_the_next_one() -> None:
    book = snapshot(
        (price("new", 2_000_000), price("old", 1_000_000)), (rate("r", "1970-01-01", "1", "1970-01-01T09:00"),)
    )
    assert book.terms_at("a/m", 1_999_999).price.id == "old"
    assert book.terms_at("a/m", 2_000_000).price.id == "new"
    old = book.terms_at("a/m", 1_500_000)
    assert (old.valid_from_ms, old.valid_until_ms) == (1_000_000, 2_000_000)
    assert book.terms_at("a/m", 2_000_000).valid_until_ms == FOREVER_MS


def test_a_model_without_a_price_is_refused_and_not_free() -> None:
    book = snapshot((price("p", 1_000),), (rate("r", "1970-01-01", "1", "1970-01-01T09:00"),))
    with pytest.raises(NoPrice):
        book.terms_at("a/m", 999)
    with pytest.raises(NoPrice):
        book.terms_at("a/other", 5_000)


def test_without_a_rate_nothing_can_be_priced() -> None:
    book = snapshot((price("p", 0),), (FRIDAY,))
    with pytest.raises(NoRate):
        book.terms_at("a/m", at("2026-01-02T10:59:59.999"))
    with pytest.raises(NoRate):
        book.rate_at(at("2026-01-02T10:59"))


@pytest.mark.parametrize(
    ("moment", "applies"),
    [
        ("2026-01-02T11:00", "fri"),
        ("2026-01-03T12:00", "fri"),
        ("2026-01-05T00:00", "fri"),
        ("2026-01-05T11:01:59.999", "fri"),
        ("2026-01-05T11:02", "mon"),
        ("2026-02-01T00:00", "mon"),
    ],
)
def test_the_latest_published_rate_holds_over_weekends_and_until_the_next_is_published(
    moment: str, applies: str
) -> None:
    book = snapshot((price("p", 0),), (MONDAY, FRIDAY))
    assert book.terms_at("a/m", at(moment)).rate.id == applies
    assert book.rate_at(at(moment)).id == applies


def test_a_rate_entered_ahead_starts_with_its_own_day_in_seoul() -> None:
    ahead = rate("ahead", "2026-01-06", "1460", "2026-01-05T18:00")
    book = snapshot((price("p", 0),), (MONDAY, ahead))
    assert book.rate_at(at("2026-01-05T23:59:59.999")).id == "mon"
    assert book.rate_at(at("2026-01-06T00:00")).id == "ahead"


def test_an_old_date_entered_late_changes_nothing() -> None:
    late = rate("late", "2026-01-02", "1441", "2026-01-05T15:00")
    book = snapshot((price("p", 0),), (FRIDAY, MONDAY, late))
    assert book.rate_at(at("2026-01-05T16:00")).id == "mon"


def test_a_correction_of_the_same_date_holds_from_its_entry() -> None:
    corrected = rate("mon2", "2026-01-05", "1451", "2026-01-05T14:00")
    book = snapshot((price("p", 0),), (corrected, FRIDAY, MONDAY))
    assert book.rate_at(at("2026-01-05T13:59:59.999")).id == "mon"
    assert book.rate_at(at("2026-01-05T14:00")).id == "mon2"


DAYS = st.integers(0, 6)


@given(
    entries=st.lists(st.tuples(DAYS, st.integers(0, 7 * 24)), min_size=1, max_size=8),
    hour=st.integers(0, 8 * 24),
)
def test_the_indexed_rate_is_the_one_that_the_rule_selects(entries: list[tuple[int, int]], hour: int) -> None:
    start = at("2026-01-01T00:00")
    rates = tuple(
        FxRate(
            id=f"{number:02}",
            date=FRIDAY.date.replace(day=1 + day),
            rate=Decimal(1000 + number),
            source="manual",
            effective_from_ms=start + entered * 3_600_000,
        )
        for number, (day, entered) in enumerate(entries)
    )
    now = start + hour * 3_600_000
    known = [r for r in rates if r.effective_from_ms <= now and r.date.day <= 1 + hour // 24]
    book = snapshot((price("p", 0),), rates)
    if known:
        expected = max(known, key=lambda r: (r.date, r.effective_from_ms, r.id))
        terms = book.terms_at("a/m", now)
        assert terms.rate == expected
        assert terms.valid_from_ms <= now < terms.valid_until_ms
        assert book.terms_at("a/m", terms.valid_from_ms).rate == expected
        assert book.terms_at("a/m", terms.valid_until_ms - 1).rate == expected
    else:
        with pytest.raises(NoRate):
            book.terms_at("a/m", now)


def test_a_snapshot_cannot_be_changed(listed: Snapshot) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        listed.version = "x"  # pyright: ignore[reportAttributeAccessIssue]
