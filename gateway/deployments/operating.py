"""Deployments as the operator sees and steers them: weights set by hand go before those of files and environment."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from gateway.accounts.change import Change
from gateway.credit.scripts import AsyncExecutor
from gateway.db.tables.deployments import deployment as table
from gateway.db.tables.operations import deployment_weight as by_hand
from gateway.deployments import health
from gateway.deployments.health import Health
from gateway.errors import InvalidRequest, NotFound
from gateway.wire import keys

MOST_WEIGHT = 1_000
HALF_LIFE_MS = 60_000
"""In which half of what was counted fades: shares of traffic are those of the last minutes."""


class Shown(msgspec.Struct, frozen=True):
    """A deployment without its key. ``weight`` is the one in force, ``written`` that of its file or environment;
    ``overruled``: a file reaches the model, so this one is not used."""

    id: str
    source: str
    model: str
    provider: str
    base_url: str
    upstream_model: str
    weight: int
    written: int
    region: str | None
    domestic: bool
    no_training: bool
    created_at: dt.datetime
    changed_by: str | None
    changed_at: dt.datetime | None
    overruled: bool


class Seen(msgspec.Struct, frozen=True):
    """How a deployment does, and how many calls it had lately (decayed)."""

    health: Health
    calls: float


def listed(connection: Connection) -> Sequence[Shown]:
    """Every deployment that is stored, by model and in the order of its source."""
    d, w = table.c, by_hand.c
    columns = (
        d.id, d.source, d.model, d.provider, d.base_url, d.upstream_model, sa.func.coalesce(w.weight, d.weight),
        d.weight, d.region, d.domestic, d.no_training, d.created_at, w.changed_by, w.changed_at,
    )  # fmt: skip
    query = (
        sa.select(*columns)
        .select_from(table.outerjoin(by_hand, w.deployment == d.id))
        .order_by(d.model, d.source, d.position)
    )
    rows = connection.execute(query).all()
    by_file = {row.model for row in rows if row.source == "file"}
    return [Shown(*row, overruled=row.source != "file" and row.model in by_file) for row in rows]


def set_weight(change: Change, deployment: str, weight: int | None) -> None:
    """Gives a deployment a weight by hand, 0 to drain it; None: its file's again. Raises ``NotFound``, ``InvalidRequest``.

    Calls that run go on; the workers choose by the new weight within a second.
    """
    if weight is not None and not 0 <= weight <= MOST_WEIGHT:
        raise InvalidRequest(f"A weight is 0 to {MOST_WEIGHT}.", param="weight")
    was = change.connection.execute(
        sa.select(table.c.weight, by_hand.c.weight.label("hand"))
        .select_from(table.outerjoin(by_hand, by_hand.c.deployment == table.c.id))
        .where(table.c.id == deployment)
    ).one_or_none()
    if was is None:
        raise NotFound(f"no deployment {deployment}")
    if weight is None:
        change.connection.execute(by_hand.delete().where(by_hand.c.deployment == deployment))
    else:
        values = {"deployment": deployment, "weight": weight, "changed_by": change.actor}
        change.connection.execute(
            insert(by_hand)
            .values(values)
            .on_conflict_do_update(index_elements=["deployment"], set_=values | {"changed_at": sa.func.now()})
        )
    change.audit("deployment.weight", deployment, weight=weight, was=was.weight if was.hand is None else was.hand)
    change.tell_all("deployments")


async def seen(redis: AsyncExecutor, deployments: Sequence[str]) -> list[Seen]:
    """How they do now, as all workers know it. Raises Redis's errors."""
    found = await health.read_async(redis, deployments)
    seconds, micro = await redis.execute_command("TIME")
    now_ms = int(seconds) * 1000 + int(micro) // 1000
    made: list[Seen] = []
    for name, state in zip(deployments, found, strict=True):
        at, good, bad = (_number(v) for v in await redis.execute_command("HMGET", _key(name), "at", "ok", "ko"))
        made.append(Seen(state, (good + bad) * math.pow(0.5, max(0.0, now_ms - at) / HALF_LIFE_MS)))
    return made


def _number(value: Any) -> float:
    return float(value or 0)


def _key(deployment: str) -> str:
    return keys.DEPLOYMENT_PREFIX + deployment
