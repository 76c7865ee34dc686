"""What a new database needs before the first call can be priced: the packaged prices and a first exchange rate."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from gateway.catalogue.model import Price
from gateway.catalogue.packaged import builtin
from gateway.db import connect
from gateway.db.tables import catalogue
from gateway.wire.ids import SEOUL

DEMO_RATE = Decimal(1470)
"""Won per USD, so that a new installation can be tried; the operator enters the published rate."""


class PriceChanged(ValueError):
    """The packaged catalogue gives another price under an id that was already published. A new price needs a new id."""


def seed(database_url: str) -> None:
    """Adds what is missing, as the tables' owner; safe to repeat. Raises ``PriceChanged``."""
    engine = connect.engine(database_url)
    try:
        with engine.begin() as connection:
            seed_prices(connection)
            seed_rate(connection, dt.datetime.now(SEOUL))
    finally:
        engine.dispose()


def seed_prices(connection: Connection) -> None:
    """Publishes the packaged prices that are not stored yet. Raises ``PriceChanged``."""
    packaged = builtin()
    table = catalogue.price
    stored = {row["id"]: row for row in connection.execute(select(table)).mappings()}
    missing: list[dict[str, object]] = []
    for price in packaged.prices:
        row = price_row(price, f"catalogue {packaged.version}")
        known = stored.get(price.id)
        if known is None:
            missing.append(row)
        elif any(known[name] != value for name, value in row.items() if name != "source"):
            raise PriceChanged(f"{price.id} was published with another price")
    if missing:
        connection.execute(insert(table).on_conflict_do_nothing(), missing)


def price_row(price: Price, source: str) -> dict[str, object]:
    """A price as its table holds it."""
    return {
        "id": price.id,
        "model": price.model,
        "effective_from": dt.datetime.fromtimestamp(price.effective_from_ms / 1000, dt.UTC),
        "input_usd": price.input_usd,
        "output_usd": price.output_usd,
        "threshold": price.threshold,
        "over_input_usd": price.over_input_usd,
        "over_output_usd": price.over_output_usd,
        "source": source,
    }


def seed_rate(connection: Connection, now: dt.datetime) -> None:
    """Enters the demo rate, in force from the start of today in Seoul, where no rate was ever entered."""
    table = catalogue.exchange_rate
    if connection.scalar(select(func.count()).select_from(table)):
        return
    today = now.astimezone(SEOUL).replace(hour=0, minute=0, second=0, microsecond=0)
    row = {"id": f"demo@{today:%Y-%m-%d}", "date": today.date(), "rate": DEMO_RATE, "source": "demo"}
    connection.execute(insert(table).values(**row, effective_from=today).on_conflict_do_nothing())
