"""What is left, what was spent, the newest calls, and the receipt of each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from sqlalchemy import Connection

from api.console.rendering import page
from api.console.visit import Visit, visit_of
from api.manage.desk import Desk
from api.manage.pages import id_place, paged
from api.routes.account import window, won
from gateway.accounts import access, organisations, spending
from gateway.accounts.organisations import Organisation
from gateway.accounts.spending import Day, Used
from gateway.errors import NotFound, ServiceUnavailable
from gateway.wire import ids, keys

CALLS = 25
"""Of one page: it stays small, and the newest are what people look for."""
CHART_DAYS = 14
CHART_HEIGHT = 96


class Bar(msgspec.Struct, frozen=True):
    """One day of the chart, in the drawing's own units."""

    day: dt.date
    x: int
    y: int
    height: int
    calls: int
    won: Decimal


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


def dashboard_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/", action="usage.read")
    async def dashboard(request: Request[Any, Any, Any]) -> Response[bytes]:
        visit = visit_of(request)
        now = dt.datetime.fromtimestamp(desk.parts.admission.now_ms() / 1000, dt.UTC)
        today = now.astimezone(ids.SEOUL).date()
        after = visit.query.get("after")
        start = id_place(after)

        def work(connection: Connection) -> Shown:
            since = min(today.replace(day=1), today - dt.timedelta(days=CHART_DAYS - 1))
            soon = now + dt.timedelta(seconds=1)
            calls = spending.recent(connection, visit.org, made_by=visit.own, before=start, until=soon, most=CALLS + 1)
            access.note(connection, visit.looker, "usage.list", min(len(calls), CALLS))
            days = spending.by_day(connection, visit.org, made_by=visit.own, since=since)
            return Shown(organisations.get(connection, visit.org), days, calls)

        shown = await desk.read(work)
        calls = paged(shown.calls, CALLS, lambda call: call.job)
        month = [used for at, used in shown.days.items() if at >= today.replace(day=1)]
        return page(
            request,
            "dashboard.html",
            settings=desk.settings,
            credit=await _credit(desk, visit, shown.organisation),
            today=shown.days.get(today, Day(0, Decimal(0))),
            month=Day(sum(used.calls for used in month), sum((used.won for used in month), Decimal(0))),
            month_name=today.strftime("%Y-%m"),
            bars=bars(shown.days, today),
            chart_height=CHART_HEIGHT,
            calls=calls.data,
            next=calls.next,
            first=after is None,
            public_id=ids.public,
        )

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

    return [dashboard, call_page]


def bars(days: dict[dt.date, Day], today: dt.date) -> list[Bar]:
    """The last days as bars, the dearest as high as the drawing; a day with a cost is at least visible."""
    shown = [today - dt.timedelta(days=back) for back in reversed(range(CHART_DAYS))]
    highest = max((days[day].won for day in shown if day in days), default=Decimal(0))
    made: list[Bar] = []
    for place, day in enumerate(shown):
        used = days.get(day, Day(0, Decimal(0)))
        height = max(2, int(used.won * CHART_HEIGHT / highest)) if used.won else 0
        made.append(Bar(day, place * 20 + 3, CHART_HEIGHT - height, height, used.calls, used.won))
    return made


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
