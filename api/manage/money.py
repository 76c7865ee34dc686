"""What is left, what came in, what was used."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, JSONBody, QueryParameter

from api.manage.desk import Desk
from api.manage.door import Asked, asked
from api.manage.pages import After, Limit, Page, id_place, paged
from api.manage.shapes import Input, won_out
from api.routes.account import window, won, won_or_none
from gateway.accounts import spending, topups
from gateway.accounts.organisations import Billing
from gateway.accounts.organisations import get as get_organisation
from gateway.accounts.spending import By, Filter, Used
from gateway.accounts.store import micro
from gateway.accounts.topups import Method, TopUp
from gateway.errors import InvalidRequest
from gateway.wire import ids, keys

LONGEST_SPAN_DAYS = 400
"""Of one question about usage: a year and a month."""

Since = Annotated[
    dt.datetime | None, QueryParameter(description="First moment; default: the beginning of this month (Seoul).")
]
Until = Annotated[dt.datetime | None, QueryParameter(description="Moment after the last; default: now.")]


class Credit(msgspec.Struct, frozen=True):
    """The credit window of this moment, in won. ``available_krw`` is null where credit is postpaid."""

    billing: Billing
    balance_krw: str
    held_krw: str
    available_krw: str | None
    month: str
    month_spent_krw: str
    month_limit_krw: str | None


class AskTopUp(Input, frozen=True):
    """Credit in whole won, net of VAT. The same reference with the same terms is the same top-up, however often."""

    amount_krw: int
    reference: str
    method: Method = "transfer"
    expires_at: dt.datetime | None = None


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


def money_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/credit", action="credit.read", tags=["money"])
    async def show_credit(request: Request[Any, Any, Any]) -> Credit:
        org = asked(request).caller.org
        known = await desk.read(lambda connection: get_organisation(connection, org))
        month = ids.month_of(desk.parts.admission.now_ms())
        balance, held, spent = await window(desk.parts, keys.org(org), "bal", "held", f"m:{month}")
        return Credit(
            billing=known.billing,
            balance_krw=won(balance),
            held_krw=won(held),
            available_krw=won(balance - held) if known.billing == "prepaid" else None,
            month=f"{month[:4]}-{month[4:]}",
            month_spent_krw=won(spent),
            month_limit_krw=won_or_none(micro(known.month_limit_won)),
        )

    @get("/topups", action="topup.read", tags=["money"])
    async def list_topups(request: Request[Any, Any, Any], limit: Limit = 50, after: After = None) -> Page[TopUp]:
        org, start = asked(request).caller.org, id_place(after)
        found = await desk.read(lambda connection: topups.page(connection, org, before=start, most=limit + 1))
        return paged(found, limit, lambda topup: topup.id)

    @post("/topups", action="topup.write", tags=["money"], status_code=200)
    async def create_topup(request: Request[Any, Any, Any], data: JSONBody[AskTopUp]) -> TopUp:
        caller = asked(request).caller
        return await desk.change(
            caller.actor,
            lambda change: topups.request(
                change, caller.org, data.amount_krw, data.method, data.reference, expires_at=data.expires_at
            ),
        )

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
        found = await desk.read(lambda connection: spending.calls(connection, wanted, before=start, most=limit + 1))
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

    return [show_credit, list_topups, create_topup, list_usage, summarise_usage]


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
