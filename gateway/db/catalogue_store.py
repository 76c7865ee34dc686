"""Loads the catalogue from PostgreSQL: the packaged models with the stored prices, rates, states and deployments."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping, select
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.business_days import after_business_days
from gateway.catalogue.model import FxRate, Model, Price
from gateway.catalogue.packaged import builtin
from gateway.catalogue.snapshot import FOREVER_MS, Snapshot
from gateway.db.tables import catalogue
from gateway.wire.ids import SEOUL

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)


# Prices and rates are only ever added, so their numbers tell; what changes in place is small.
_STATE = sa.text("""
SELECT concat_ws(' ',
    (SELECT count(*) FROM price), (SELECT count(*) FROM exchange_rate),
    (SELECT md5(string_agg(model || ' ' || state, ',' ORDER BY model)) FROM model_state),
    (SELECT md5(string_agg(concat_ws(' ', d.id, d.model, d.domestic, d.no_training, coalesce(w.weight, d.weight) > 0),
        ',' ORDER BY d.id)) FROM deployment d LEFT JOIN deployment_weight w ON w.deployment = d.id))""")


class CatalogueReader:
    """Reads the catalogue again where it has changed: with years of rates and prices that holds an event loop up.

    Args:
        sandbox, stop_business_days: see ``read_snapshot``.
    """

    def __init__(self, engine: AsyncEngine, *, sandbox: bool, stop_business_days: int | None = None) -> None:
        self._engine = engine
        self._how = sandbox, stop_business_days
        self._read: tuple[str, Snapshot] | None = None

    async def load(self) -> Snapshot:
        """The catalogue as stored now; the same object where it is what it was."""
        async with self._engine.connect() as connection:
            state = str((await connection.execute(_STATE)).scalar_one())
            if self._read is None or self._read[0] != state:
                self._read = state, await connection.run_sync(read_snapshot, *self._how)
        return self._read[1]


def read_snapshot(connection: Connection, sandbox: bool, stop_business_days: int | None = None) -> Snapshot:
    """The catalogue as stored now. ``sandbox`` offers the ``sandbox/*`` models; without it they do not exist.

    The latest published rate whose date is not after the call's Seoul date applies, from the moment it was entered.
    Once that is more than ``stop_business_days`` Korean business days old, nothing has terms: the price would be a
    guess.
    """
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
    rows = connection.execute(
        sa.text(
            "SELECT d.id, d.model, d.domestic, d.no_training FROM deployment d "
            "LEFT JOIN deployment_weight w ON w.deployment = d.id WHERE coalesce(w.weight, d.weight) > 0"
        )
    )
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
