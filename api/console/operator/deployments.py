"""Deployments: how each does, its share of the traffic, its weight; drained and brought back with one button."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api.console import BASE
from api.console.operator.overview import health_of
from api.console.rendering import go, page
from api.console.visit import form, visit_of
from api.manage.desk import Desk
from gateway.deployments import operating
from gateway.deployments.operating import Seen, Shown
from gateway.deployments.providers import known
from gateway.errors import InvalidRequest

PLACE = f"{BASE}/operator/deployments"
ROWS = 60
"""Models of one page."""


class Row(msgspec.Struct, frozen=True):
    """A deployment, how it does (None while Redis is away), and its part of its model's calls, in per mille."""

    shown: Shown
    seen: Seen | None
    share: int | None


class Host(msgspec.Struct, frozen=True):
    """A provider: how many deployments it has here, and what is known of it."""

    name: str
    deployments: int
    drained: int
    domestic: bool | None
    no_training: bool | None


def deployment_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/operator/deployments", action="installation.finance", installation=True)
    async def deployments_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        visit = visit_of(request)
        words = visit.query.get("q", "").strip().casefold()[:100]
        everything = await desk.read(operating.listed)
        found = [each for each in everything if words in f"{each.id} {each.model} {each.provider}".casefold()]
        models = sorted({each.model for each in found})
        first = visit.query.get("page", "1")
        number = int(first) if first.isascii() and first.isdecimal() and int(first[:4]) > 0 else 1
        shown = set(models[(number - 1) * ROWS : number * ROWS])
        rows = await _rows(desk, [each for each in found if each.model in shown])
        return page(
            request, "operator_deployments.html", settings=desk.settings, section="operator", rows=rows,
            hosts=_hosts(everything), words=visit.query.get("q", ""), number=number, more=len(models) > number * ROWS,
            all=len(everything), state="/".join(map(_state, rows)),
        )  # fmt: skip

    @post("/operator/deployments/{deployment:str}/weight", action="installation.finance", installation=True)
    async def set_weight(request: Request[Any, Any, Any], deployment: FromPath[str]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        wanted = fields.get("weight", "")
        if wanted and not (wanted.isascii() and wanted.isdecimal() and len(wanted) < 6):
            raise InvalidRequest("Not a whole number.", param="weight")
        weight = int(wanted) if wanted else None
        person = visit.person.person
        await desk.change(person, lambda change: operating.set_weight(change, deployment, weight))
        words = fields.get("q", "")
        return cast("Response[Any]", go(f"{PLACE}?{urlencode({'q': words})}" if words else PLACE))

    return [deployments_page, set_weight]


async def _rows(desk: Desk, found: list[Shown]) -> list[Row]:
    seen = await health_of(desk, [each.id for each in found])
    totals: dict[str, float] = {}
    for each in found:
        if each.id in seen:
            totals[each.model] = totals.get(each.model, 0.0) + seen[each.id].calls
    rows: list[Row] = []
    for each in found:
        state, total = seen.get(each.id), totals.get(each.model, 0.0)
        share = round(state.calls * 1_000 / total) if state is not None and total > 0.01 else None
        rows.append(Row(each, state, share))
    return rows


def _hosts(everything: Any) -> list[Host]:
    names = sorted({each.provider for each in everything})
    made: list[Host] = []
    for name in names:
        mine = [each for each in everything if each.provider == name]
        host = known().get(name)
        made.append(
            Host(
                name,
                len(mine),
                sum(each.weight == 0 for each in mine),
                None if host is None else host.domestic,
                None if host is None else host.no_training,
            )
        )
    return made


def _state(row: Row) -> str:
    health = None if row.seen is None else row.seen.health
    return f"{row.shown.weight}{'' if health is None else health.state}"
