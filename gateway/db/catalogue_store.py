"""Loads the catalogue from PostgreSQL: the packaged models with the stored prices, rates, states and deployments."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, RowMapping, select
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.business_days import after_business_days
from gateway.catalogue.model import FxRate, Model, Price
from gateway.catalogue.packaged import builtin
from gateway.catalogue.snapshot import FOREVER_MS, Snapshot
from gateway.db.tables import catalogue
from gateway.wire.ids import SEOUL

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)


async def load_snapshot(engine: AsyncEngine, sandbox: bool, stop_business_days: int | None = None) -> Snapshot:
    """The catalogue as stored now. ``sandbox`` offers the ``sandbox/*`` models; without it they do not exist.

    The latest published rate whose date is not after the call's Seoul date applies, from the moment it was entered.
    Once that is more than ``stop_business_days`` Korean business days old, nothing has terms: the price would be a
    guess.
    """
    async with engine.connect() as connection:
        return await connection.run_sync(read_snapshot, sandbox, stop_business_days)


def load_snapshot_sync(engine: Engine, sandbox: bool, stop_business_days: int | None = None) -> Snapshot:
    """The same on a blocking engine."""
    with engine.connect() as connection:
        return read_snapshot(connection, sandbox, stop_business_days)


def read_snapshot(connection: Connection, sandbox: bool, stop_business_days: int | None = None) -> Snapshot:
    """The same on an open connection."""
    packaged = builtin()
    states = {row.model: row.state for row in connection.execute(select(catalogue.model_state))}
    models = {
        model.id: _in_state(model, states)
        for model in packaged.models.values()
        if sandbox or model.provider != "sandbox"
    }
    prices: defaultdict[str, list[Price]] = defaultdict(list)
    for row in connection.execute(select(catalogue.price)).mappings():
        if row["model"] in models:
            prices[row["model"]].append(_price(row))
    rates = [_rate(row) for row in connection.execute(select(catalogue.exchange_rate)).mappings()]
    deployed = _deployed(connection)
    available = {m.id for m in models.values() if m.id in deployed or m.provider == "sandbox"}
    return Snapshot(
        version=_version(packaged.version, prices.values(), rates, states),
        models=models,
        aliases=packaged.aliases,
        prices={model: tuple(versions) for model, versions in prices.items()},
        rates=tuple(rates),
        available=frozenset(available),
        retired=packaged.retired,
        sold_until_ms=_sold_until(rates, stop_business_days),
        reach={model: frozenset(kinds) for model, (kinds, _) in deployed.items()},
        deployments={model: tuple(sorted(ids)) for model, (_, ids) in deployed.items()},
    )


def _sold_until(rates: Iterable[FxRate], stop_business_days: int | None) -> int:
    """The first moment at which the newest rate is older than it may be (milliseconds)."""
    newest = max((rate.date for rate in rates), default=None)
    if stop_business_days is None or newest is None:
        return FOREVER_MS
    stops = after_business_days(newest, stop_business_days + 1)
    return milliseconds(dt.datetime.combine(stops, dt.time(), SEOUL))


def milliseconds(moment: dt.datetime) -> int:
    """A moment as milliseconds since 1970, exactly: no float on the way."""
    return (moment - _EPOCH) // _MILLISECOND


def _in_state(model: Model, states: Mapping[str, Any]) -> Model:
    state = states.get(model.id)
    return model if state is None or state == model.state else msgspec.structs.replace(model, state=state)


def _price(row: RowMapping) -> Price:
    return Price(
        id=row["id"],
        model=row["model"],
        effective_from_ms=milliseconds(row["effective_from"]),
        input_usd=row["input_usd"],
        output_usd=row["output_usd"],
        threshold=row["threshold"],
        over_input_usd=row["over_input_usd"],
        over_output_usd=row["over_output_usd"],
    )


def _rate(row: RowMapping) -> FxRate:
    return FxRate(
        id=row["id"],
        date=row["date"],
        rate=row["rate"],
        source=row["source"],
        effective_from_ms=milliseconds(row["effective_from"]),
    )


def _deployed(connection: Connection) -> dict[str, tuple[set[tuple[bool, bool]], set[str]]]:
    """Models with deployments that are not drained, of which kinds (domestic, no training) these are, and their ids;
    read by name: the table is the deployments' own."""
    if connection.scalar(sa.text("SELECT to_regclass('deployment')")) is None:
        return {}
    rows = connection.execute(sa.text("SELECT id, model, domestic, no_training FROM deployment WHERE weight > 0"))
    found: dict[str, tuple[set[tuple[bool, bool]], set[str]]] = {}
    for name, model, domestic, no_training in rows:
        kinds, names = found.setdefault(model, (set(), set()))
        kinds.add((domestic, no_training))
        names.add(name)
    return found


def _version(
    packaged: str, prices: Iterable[Iterable[Price]], rates: Iterable[FxRate], states: Mapping[str, str]
) -> str:
    """Names what the snapshot was built from: prices and rates never change, so their ids say it all."""
    ids = sorted(price.id for versions in prices for price in versions) + sorted(rate.id for rate in rates)
    digest = hashlib.sha256(repr((ids, sorted(states.items()))).encode()).hexdigest()
    return f"{packaged}/{digest[:12]}"
