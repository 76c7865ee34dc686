"""What is left, what was spent and on what, how calls went, the newest of them, and the receipt of each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from sqlalchemy import Connection

from api.console import charts
from api.console.rendering import page
from api.console.visit import RENEWED, Visit, visit_of
from api.manage.desk import Desk
from api.manage.pages import id_place, paged
from api.routes.account import window, won
from gateway.accounts import access, latency, organisations, spending, statistics
from gateway.accounts.latency import Measure, Percentiles
from gateway.accounts.organisations import Organisation
from gateway.accounts.spending import Day, Used
from gateway.accounts.statistics import By, Group, Outcomes
from gateway.errors import NotFound, ServiceUnavailable
from gateway.wire import ids, keys

CALLS = 25
"""Of one page: it stays small, and the newest are what people look for."""
PERIODS = (7, 30, 90)
"""Days that the charts may cover; ``PERIOD`` unless asked for another."""
PERIOD = 30
GROUPS = 8
"""Bars of a chart by model, key or app: more cannot be told apart."""
AGAIN_S = 60
"""A page that renews itself is written into the access log once in this time."""


class Credit(msgspec.Struct, frozen=True):
    """Of this moment, in won. ``left`` is what can still be spent; None where nothing bounds it."""

    left: str | None
    held: str
    prepaid: bool


class Shown(msgspec.Struct, frozen=True):
    """What PostgreSQL has for the dashboard."""

    organisation: Organisation
    days: dict[dt.date, Day]
    calls: Sequence[Used]
    state: str
    groups: Mapping[By, Sequence[Group]]
    outcomes: Outcomes
    latency: Mapping[Measure, Percentiles]


def dashboard_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    def now() -> dt.datetime:
        return dt.datetime.fromtimestamp(desk.parts.admission.now_ms() / 1000, dt.UTC)

    @get("/", action="usage.read")
    async def dashboard(request: Request[Any, Any, Any]) -> Response[bytes]:
        visit = visit_of(request)
        at, days = now(), _period(visit)
        today = at.astimezone(ids.SEOUL).date()
        after = visit.query.get("after")
        start = id_place(after)
        again_s = AGAIN_S if RENEWED in request.headers else 0
        shown = await desk.read(lambda connection: _read(connection, visit, at, days, start, again_s))
        calls = paged(shown.calls, CALLS, lambda call: call.job)
        month = [used for day, used in shown.days.items() if day >= today.replace(day=1)]
        drawn, top = charts.bars(shown.days, today, days)
        return page(
            request,
            "dashboard.html",
            settings=desk.settings,
            credit=await _credit(desk, visit, shown.organisation),
            today=shown.days.get(today, Day(0, Decimal(0))),
            month=Day(sum(used.calls for used in month), sum((used.won for used in month), Decimal(0))),
            month_name=today.strftime("%Y-%m"),
            forecast=statistics.forecast(shown.days, at),
            bars=drawn,
            top=top,
            chart_height=charts.HEIGHT,
            chart_width=charts.WIDTH,
            days=days,
            periods=PERIODS,
            groups={by: charts.lying(found) for by, found in shown.groups.items()},
            outcomes=shown.outcomes,
            latency=shown.latency,
            state=shown.state,
            calls=calls.data,
            next=calls.next,
            first=after is None,
            public_id=ids.public,
        )

    @get("/live", action="usage.read", quiet=True)
    async def live(request: Request[Any, Any, Any]) -> Response[dict[str, str]]:
        visit = visit_of(request)
        today = now().astimezone(ids.SEOUL).date()
        found = await desk.read(lambda connection: statistics.state(connection, visit.org, today))
        return Response({"state": found}, headers={"cache-control": "no-store"})

    return [dashboard, live, *_receipt_routes(desk)]


def _receipt_routes(desk: Desk) -> list[HTTPRouteHandler]:
    @get("/calls/{call_id:str}", action="usage.read")
    async def call_page(request: Request[Any, Any, Any], call_id: FromPath[str]) -> Response[bytes]:
        visit = visit_of(request)
        job = ids.from_public(call_id)
        found = None if job is None else await desk.parts.sources.receipts.receipt(visit.org, job)
        if job is None or found is None:
            raise NotFound(param="call")

        def work(connection: Connection) -> bool:
            mine = visit.own is None or spending.is_of(connection, visit.org, job, visit.own)
            access.note(connection, visit.looker, "usage.receipt", int(mine))
            return mine

        if not await desk.read(work):
            raise NotFound(param="call")
        return page(request, "call.html", settings=desk.settings, receipt=found)

    return [call_page]


def _period(visit: Visit) -> int:
    asked = visit.query.get("days", "")
    return int(asked) if asked in {str(days) for days in PERIODS} else PERIOD


def _read(connection: Connection, visit: Visit, now: dt.datetime, days: int, start: str | None, again_s: int) -> Shown:
    org, own = visit.org, visit.own
    today = now.astimezone(ids.SEOUL).date()
    since = today - dt.timedelta(days=days - 1)
    soon = now + dt.timedelta(seconds=1)
    # the state first: what is booked after it is shown by the next renewal, not by none
    state = statistics.state(connection, org, today)
    calls = spending.recent(connection, org, made_by=own, before=start, until=soon, most=CALLS + 1)
    access.note(connection, visit.looker, "usage.list", min(len(calls), CALLS), again_s=again_s)
    week_ago = today - dt.timedelta(days=statistics.AVERAGED_DAYS)
    groups, outcomes = statistics.shares(connection, org, made_by=own, since=since, most=GROUPS)
    return Shown(
        organisation=organisations.get(connection, org),
        days=spending.by_day(connection, org, made_by=own, since=min(today.replace(day=1), since, week_ago)),
        calls=calls,
        state=state,
        groups=groups,
        outcomes=outcomes,
        latency=latency.percentiles(connection, org, made_by=own, since=since),
    )


async def _credit(desk: Desk, visit: Visit, organisation: Organisation) -> Credit | None:
    """From the window; None while it cannot be read: the rest of the page is worth showing."""
    month = ids.month_of(desk.parts.admission.now_ms())
    try:
        balance, held, spent = await window(desk.parts, keys.org(visit.org), "bal", "held", f"m:{month}")
    except ServiceUnavailable:
        return None
    prepaid = organisation.billing == "prepaid"
    if prepaid:
        return Credit(won(balance - held), won(held), prepaid)
    limit = organisation.month_limit_won
    left = None if limit is None else won(int(limit.scaleb(6)) - spent - held)
    return Credit(left, won(held), prepaid)
