"""Deployments at rest: provider keys sealed under the deployment's id, sets replaced as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Engine

from gateway.catalogue.packaged import builtin
from gateway.db import connect
from gateway.db.tables.deployments import deployment as table
from gateway.db.tables.operations import deployment_weight as by_hand
from gateway.deployments.deployment import Deployment
from gateway.deployments.providers import known
from gateway.seal import Sealer
from gateway.settings import Settings

Source = Literal["file", "environment"]
PURPOSE = "deployment"


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """A deployment without its key, and what wrote it."""

    deployment: Deployment
    source: Source


def replace(engine: Engine, sealer: Sealer, source: Source, deployments: Sequence[Deployment]) -> None:
    """Makes `deployments` the whole of what `source` has written, in one transaction."""
    rows = [
        {
            "id": d.id,
            "source": source,
            "position": position,
            "model": d.model,
            "provider": d.provider,
            "base_url": d.base_url,
            "upstream_model": d.upstream_model,
            "api_key": sealer.seal(d.api_key.encode(), d.id.encode()),
            "weight": d.weight,
            "region": d.region,
            "domestic": d.domestic,
            "no_training": d.no_training,
            "options": d.options,
        }
        for position, d in enumerate(deployments)
    ]
    with engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE deployment IN EXCLUSIVE MODE"))  # two files at once: one, then the other
        connection.execute(sa.delete(table).where(table.c.source == source))
        if rows:
            # an equal deployment that another source wrote stays that source's
            taken = set(connection.scalars(sa.select(table.c.id)))
            if fresh := [row for row in rows if row["id"] not in taken]:
                connection.execute(sa.insert(table), fresh)


def listed(engine: Engine) -> list[Stored]:
    """Everything that is stored, without keys, in the order it was written."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(*(c for c in table.c if c.name != "api_key")).order_by(table.c.source, table.c.position)
        )
        return [Stored(_deployment(row, ""), row.source) for row in rows]


def load(engine: Engine, sealer: Sealer) -> list[Deployment]:
    """The deployments in force, keys open. A model that a file names is reached as the file says, and only so.

    Raises SQLAlchemy's errors, and `gateway.seal.Unsealable` where the secret is another.
    """
    with engine.connect() as connection:
        rows = connection.execute(_in_force().order_by(table.c.source, table.c.position)).all()
    by_file = {row.model for row in rows if row.source == "file"}
    return [
        _deployment(row, sealer.open(bytes(row.api_key), row.id.encode()).decode())
        for row in rows
        if row.source == "file" or row.model not in by_file
    ]


def _in_force() -> sa.Select[Any]:
    """Every row with the weight that holds: the operator's, else the source's."""
    columns = [column for column in table.c if column.name != "weight"]
    weight = sa.func.coalesce(by_hand.c.weight, table.c.weight).label("weight")
    return sa.select(*columns, weight).select_from(table.outerjoin(by_hand, by_hand.c.deployment == table.c.id))


def _deployment(row: sa.Row[tuple[object, ...]], api_key: str) -> Deployment:
    columns: Any = row._mapping  # pyright: ignore[reportPrivateUsage]  # SQLAlchemy's public name for it
    return Deployment(
        id=columns["id"],
        model=columns["model"],
        provider=columns["provider"],
        base_url=columns["base_url"],
        upstream_model=columns["upstream_model"],
        api_key=api_key,
        weight=columns["weight"],
        region=columns["region"],
        domestic=columns["domestic"],
        no_training=columns["no_training"],
        options=dict(columns["options"]),
    )


def sandbox_deployments() -> list[Deployment]:
    """One deployment for every sandbox model: they exist wherever the sandbox is on, and are stored nowhere."""
    host = known()["sandbox"]
    return [
        Deployment(
            id=model.id.replace("/", "-"),
            model=model.id,
            provider="sandbox",
            base_url=host.base_url,
            upstream_model=model.upstream_id,
            domestic=True,
            no_training=True,
        )
        for model in builtin().models.values()
        if model.provider == "sandbox"
    ]


def loader(settings: Settings) -> Callable[[], Sequence[Deployment]]:
    """Reads the set in force whenever it is called, over one small pool; blocking."""
    engine = connect.engine(settings.database_url, pool_size=1)
    sealer = settings.sealer(PURPOSE)
    extra = sandbox_deployments() if settings.sandbox else []
    return lambda: [*load(engine, sealer), *extra]


def available_models(engine: Engine, sandbox: bool) -> frozenset[str]:
    """The ids of models that have a deployment with a weight above zero."""
    with engine.connect() as connection:
        weight = sa.func.coalesce(by_hand.c.weight, table.c.weight)
        joined = table.outerjoin(by_hand, by_hand.c.deployment == table.c.id)
        found = set(connection.scalars(sa.select(table.c.model).select_from(joined).where(weight > 0)))
    if sandbox:
        found |= {deployment.model for deployment in sandbox_deployments()}
    return frozenset(found)
