"""What was used: call by call, and summed up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, QueryParameter
from sqlalchemy import Connection

from api.manage.desk import Desk
from api.manage.door import Asked, asked
from api.manage.pages import After, Limit, Page, id_place, paged
from api.manage.shapes import won_out
from gateway.accounts import access, spending
from gateway.accounts.spending import By, Filter, Used
from gateway.errors import InvalidRequest
from gateway.wire import ids

LONGEST_SPAN_DAYS = 400
"""Of one question about usage: a year and a month."""

Since = Annotated[
    dt.datetime | None, QueryParameter(description="First moment; default: the beginning of this month (Seoul).")
]
Until = Annotated[dt.datetime | None, QueryParameter(description="Moment after the last; default: now.")]


class Call(msgspec.Struct, frozen=True):
    """One settled call. ``user`` is a keyed hash; ``cost_krw`` exact."""

    id: str
    at: dt.datetime
    key: str
    model: str
    provider: str
    application: str | None
    user: str | None
    outcome: str
    estimated: bool
    prompt_tokens: int
    completion_tokens: int
    cost_krw: str


class Group(msgspec.Struct, frozen=True):
    """All calls of one day, model, key, application, user or provider; null where the calls named none."""

    group: str | None
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_krw: str


class Summary(msgspec.Struct, frozen=True):
    """Sums, and between which moments."""

    by: By
    since: dt.datetime
    until: dt.datetime
    data: list[Group]


def usage_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/usage", action="usage.read", tags=["usage"])
    async def list_usage(
        request: Request[Any, Any, Any],
        limit: Limit = 50,
        after: After = None,
        since: Since = None,
        until: Until = None,
        key: FromQuery[str | None] = None,
        model: FromQuery[str | None] = None,
        application: FromQuery[str | None] = None,
    ) -> Page[Call]:
        wanted = _filter(desk, asked(request), since, until, key, model, application)
        start = id_place(after)
        looker = asked(request).caller.looker

        def work(connection: Connection) -> Sequence[Used]:
            found = spending.calls(connection, wanted, before=start, most=limit + 1)
            access.note(connection, looker, "usage.list", min(len(found), limit))
            return found

        found = await desk.read(work)
        return paged([call(used) for used in found], limit, lambda shown: shown.id.removeprefix(ids.PUBLIC_PREFIX))

    @get("/usage/summary", action="usage.read", tags=["usage"])
    async def summarise_usage(
        request: Request[Any, Any, Any],
        by: FromQuery[By] = "day",
        since: Since = None,
        until: Until = None,
        key: FromQuery[str | None] = None,
        model: FromQuery[str | None] = None,
        application: FromQuery[str | None] = None,
    ) -> Summary:
        wanted = _filter(desk, asked(request), since, until, key, model, application)
        found = await desk.read(lambda connection: spending.summary(connection, wanted, by))
        groups = [Group(s.group, s.calls, s.prompt_tokens, s.completion_tokens, won_out(s.won) or "0") for s in found]
        return Summary(by, wanted.since, wanted.until, groups)

    return [list_usage, summarise_usage]


def call(used: Used) -> Call:
    """A settled call as the API shows it."""
    shown = {name: getattr(used, name) for name in Call.__struct_fields__ if name not in ("id", "cost_krw")}
    return Call(id=ids.public(used.job), cost_krw=won_out(used.won) or "0", **shown)


def _filter(
    desk: Desk,
    a: Asked,
    since: dt.datetime | None,
    until: dt.datetime | None,
    key: str | None,
    model: str | None,
    application: str | None,
) -> Filter:
    """Raises ``InvalidRequest`` for moments without an offset, or too far apart."""
    now_ms = desk.parts.admission.now_ms()
    last = until or dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC)
    first = since or dt.datetime.fromtimestamp(ids.month_bounds_ms(now_ms)[0] / 1000, dt.UTC)
    for moment, name in ((first, "since"), (last, "until")):
        if moment.tzinfo is None:
            raise InvalidRequest(f"'{name}' needs an offset from UTC.", param=name)
    if last - first > dt.timedelta(days=LONGEST_SPAN_DAYS):
        raise InvalidRequest(f"'since' and 'until' are more than {LONGEST_SPAN_DAYS} days apart.", param="since")
    if key is not None and ids.from_public(key) is None:
        raise InvalidRequest("'key' must be the id of a key.", param="key")
    return Filter(a.caller.org, first, last, key, model, application, a.own)
