"""How the installation does at this moment: what waits, who works, what is wrong."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import msgspec
import sqlalchemy as sa
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from redis.exceptions import RedisError
from sqlalchemy import Connection

from api.console.rendering import page
from api.manage.desk import Desk
from gateway.accounts.checks import Run, last_run
from gateway.business_days import business_days_between
from gateway.db.tables.accounts import organisation
from gateway.db.tables.catalogue import exchange_rate
from gateway.deployments import operating
from gateway.deployments.operating import Shown
from gateway.wire import ids, keys

CHECKED_WITHIN = dt.timedelta(hours=2)
"""The books are checked every hour: without a look for this long, nobody looks any more."""


class Line(msgspec.Struct, frozen=True):
    """What Redis holds: how many wait in each place, and which processes listen."""

    calls: int
    open_jobs: int
    unsettled: int
    dead: int
    workers: int
    fronts: int


class Books(msgspec.Struct, frozen=True):
    """What PostgreSQL knows. ``rate_age``: Korean business days since the newest rate."""

    organisations: int
    outbox: int
    run: Run | None
    rate_date: dt.date | None
    rate_source: str
    rate_age: int
    deployments: list[Shown]


def overview_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/operator", action="installation.finance", installation=True)
    async def overview(request: Request[Any, Any, Any]) -> Response[bytes]:
        line, books = await _line(desk), await desk.read(_books)
        states = await health_of(desk, [each.id for each in books.deployments])
        late = books.run is None or dt.datetime.now(dt.UTC) - books.run.at > CHECKED_WITHIN
        return page(
            request,
            "operator_overview.html",
            settings=desk.settings,
            section="operator",
            line=line,
            books=books,
            state=f"{line}",
            opened=[each for each in books.deployments if each.id in states and states[each.id].health.state == "open"],
            fleet=_fleet(books.deployments, states),
            stale=books.rate_age > desk.settings.fx_stale_business_days,
            late=late,
        )

    @get("/operator/state", action="installation.finance", installation=True, quiet=True)
    async def overview_state() -> Response[dict[str, str]]:
        return Response({"state": f"{await _line(desk)}"}, headers={"cache-control": "no-store"})

    return [overview, overview_state]


async def health_of(desk: Desk, deployments: list[str]) -> dict[str, operating.Seen]:
    """How deployments do; empty while Redis is away."""
    try:
        found = await operating.seen(desk.parts.redis, deployments)
    except (RedisError, OSError):
        return {}
    return dict(zip(deployments, found, strict=True))


def _fleet(deployments: list[Shown], states: dict[str, operating.Seen]) -> Counter[str]:
    """How many deployments are in which state, by the name of its text. A drained one counts as that alone."""
    words = {"open": "open_word"}
    return Counter(
        "drained" if each.weight == 0 else words.get(states[each.id].health.state, states[each.id].health.state)
        for each in deployments
        if each.id in states
    )


async def _line(desk: Desk) -> Line | None:
    """None while Redis is away."""
    ask = desk.parts.redis.execute_command
    try:
        return Line(
            calls=int(await ask("GET", keys.WAITING) or 0) + int(await ask("GET", keys.DEFERRED) or 0),
            open_jobs=int(await ask("ZCARD", keys.LEASES)),
            unsettled=int(await ask("XLEN", keys.USAGE)),
            dead=int(await ask("XLEN", keys.DEAD)),
            workers=len(await ask("PUBSUB", "CHANNELS", f"{keys.CONTROL_PREFIX}*")),
            fronts=len(await ask("PUBSUB", "CHANNELS", f"{keys.REPLY_PREFIX}*")),
        )
    except (RedisError, OSError):
        return None


def _books(connection: Connection) -> Books:
    r = exchange_rate.c
    today = dt.datetime.now(ids.SEOUL).date()
    newest = connection.execute(
        sa.select(r.date, r.source).where(r.date <= today).order_by(r.date.desc(), r.effective_from.desc()).limit(1)
    ).one_or_none()
    waiting = sa.text("SELECT count(*) FROM outbox WHERE applied_at IS NULL")
    open_ones = sa.select(sa.func.count()).select_from(organisation).where(organisation.c.state != "closed")
    return Books(
        organisations=connection.execute(open_ones).scalar_one(),
        outbox=connection.execute(waiting).scalar_one(),
        run=last_run(connection),
        rate_date=None if newest is None else newest.date,
        rate_source="" if newest is None else newest.source,
        rate_age=0 if newest is None else business_days_between(newest.date, today),
        deployments=list(operating.listed(connection)),
    )
