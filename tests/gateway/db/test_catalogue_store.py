"""The catalogue as stored: seeded prices, rates over time, states, deployments."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

import msgspec
import pytest
from sqlalchemy import Connection, text

from gateway.catalogue.model import UnknownModel
from gateway.catalogue.packaged import builtin
from gateway.db import connect
from gateway.db import seed as seeding
from gateway.db.catalogue_store import milliseconds, read_snapshot
from gateway.db.seed import PriceChanged, seed, seed_rate
from gateway.db.tables import catalogue
from gateway.wire.ids import SEOUL

NOW = milliseconds(dt.datetime(2026, 3, 2, 12, tzinfo=SEOUL))


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection whose changes no other test sees."""
    engine = connect.engine(database_url)
    seed(database_url)
    with engine.connect() as connection:
        yield connection
        connection.rollback()
    engine.dispose()


def enter_rate(connection: Connection, id: str, date: dt.date, rate: str, entered: dt.datetime) -> None:
    connection.execute(
        catalogue.exchange_rate.insert().values(
            id=id, date=date, rate=Decimal(rate), source="test", effective_from=entered
        )
    )


def test_every_packaged_price_is_seeded_from_the_day_it_was_published(connection: Connection) -> None:
    snapshot = read_snapshot(connection, sandbox=True)
    published = milliseconds(dt.datetime(2025, 12, 8, tzinfo=SEOUL))
    sold = [model for model in snapshot.models.values() if model.provider != "sandbox"]
    assert len(sold) == 72
    assert {price for versions in snapshot.prices.values() for price in versions} == set(builtin().prices)
    assert {versions[0].effective_from_ms for versions in snapshot.prices.values()} == {published}


def test_a_price_that_was_published_cannot_be_packaged_anew_under_its_id(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = builtin()
    first, *others = packaged.prices
    dearer = msgspec.structs.replace(first, input_usd=first.input_usd + 1)
    monkeypatch.setattr(seeding, "builtin", lambda: packaged._replace(prices=(dearer, *others)))
    with pytest.raises(PriceChanged):
        seeding.seed_prices(connection)


def test_a_later_price_applies_from_its_moment(connection: Connection) -> None:
    connection.execute(
        catalogue.price.insert().values(
            id="openai/gpt-4o@2026-03-02",
            model="openai/gpt-4o",
            effective_from=dt.datetime(2026, 3, 2, 12, tzinfo=SEOUL),
            input_usd=Decimal("3.123456"),
            output_usd=Decimal(9),
            source="test",
        )
    )
    enter_rate(connection, "r", dt.date(2026, 3, 1), "1400.6", dt.datetime(2026, 3, 1, 11, tzinfo=SEOUL))
    snapshot = read_snapshot(connection, sandbox=False)
    before, after = (snapshot.terms_at("openai/gpt-4o", at) for at in (NOW - 1, NOW))
    assert (before.price.input_usd, before.valid_until_ms) == (Decimal("2.5"), NOW)
    assert (after.price.input_usd, after.price.effective_from_ms) == (Decimal("3.123456"), NOW)


def test_the_latest_rate_not_after_the_calls_seoul_date_applies_once_it_is_entered(connection: Connection) -> None:
    friday, monday = dt.date(2026, 2, 27), dt.date(2026, 3, 2)
    enter_rate(connection, "friday", friday, "1440.5", dt.datetime(2026, 2, 27, 11, tzinfo=SEOUL))
    enter_rate(connection, "monday", monday, "1450.25", dt.datetime(2026, 3, 2, 11, tzinfo=SEOUL))
    enter_rate(connection, "tuesday", dt.date(2026, 3, 3), "1460", dt.datetime(2026, 3, 2, 18, tzinfo=SEOUL))
    snapshot = read_snapshot(connection, sandbox=False)
    at = {
        text: snapshot.rate_at(milliseconds(dt.datetime.fromisoformat(text).replace(tzinfo=SEOUL))).id
        for text in ("2026-03-01T23:59", "2026-03-02T10:59", "2026-03-02T11:00", "2026-03-02T23:59", "2026-03-03T00:00")
    }
    assert list(at.values()) == ["friday", "friday", "monday", "monday", "tuesday"]


def test_the_demo_rate_holds_from_the_start_of_today_and_only_where_there_is_none(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE exchange_rate DISABLE TRIGGER USER"))  # for this transaction
    connection.execute(catalogue.exchange_rate.delete())
    now = dt.datetime(2026, 3, 2, 0, 0, 1, tzinfo=SEOUL)  # in UTC it is yesterday
    seed_rate(connection, now)
    rate = read_snapshot(connection, sandbox=False).rate_at(milliseconds(now))
    assert (rate.rate, rate.source, rate.date) == (Decimal(1470), "demo", now.date())
    seed_rate(connection, now + dt.timedelta(days=3))
    assert len(read_snapshot(connection, sandbox=False).rates) == 1


def test_sandbox_models_exist_only_where_the_sandbox_is_on(connection: Connection) -> None:
    on, off = read_snapshot(connection, sandbox=True), read_snapshot(connection, sandbox=False)
    assert "sandbox/echo" in on.available
    assert on.resolve("sandbox/echo", "bizrouter").id == "sandbox/echo"
    with pytest.raises(UnknownModel):
        off.resolve("sandbox/echo", "bizrouter")


def test_a_disabled_model_is_unknown_and_the_snapshot_gets_another_version(connection: Connection) -> None:
    before = read_snapshot(connection, sandbox=False)
    connection.execute(catalogue.model_state.insert().values(model="openai/gpt-4o", state="disabled"))
    after = read_snapshot(connection, sandbox=False)
    assert before.resolve("openai/gpt-4o", "bizrouter").state == "active"
    with pytest.raises(UnknownModel):
        after.resolve("openai/gpt-4o", "bizrouter")
    assert before.version != after.version
