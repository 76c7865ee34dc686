"""Exchange rates and prices: what holds, since when and from where; new ones are entered by billing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from sqlalchemy import Connection

from api.console import BASE
from api.console.rendering import page
from api.console.tasks import ask
from api.console.visit import form, visit_of
from api.manage.desk import Desk
from gateway.business_days import business_days_between
from gateway.catalogue.packaged import builtin
from gateway.db.tables.catalogue import exchange_rate, price
from gateway.wire import ids

RATES = 30
PRICES = 50
PLACE = f"{BASE}/operator/prices"


def rate_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/operator/prices", action="installation.finance", installation=True)
    async def prices_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        visit = visit_of(request)
        words = visit.query.get("q", "").strip()[:100]

        def work(connection: Connection) -> tuple[Sequence[Any], Sequence[Any]]:
            r, p = exchange_rate.c, price.c
            rates = sa.select(r.date, r.rate, r.source, r.effective_from)
            prices = sa.select(
                p.model, p.effective_from, p.input_usd, p.output_usd, p.threshold, p.over_input_usd, p.over_output_usd,
                p.source,
            )  # fmt: skip
            if words:
                prices = prices.where(p.model.icontains(words, autoescape=True))
            return (
                connection.execute(rates.order_by(r.date.desc(), r.effective_from.desc()).limit(RATES)).all(),
                connection.execute(prices.order_by(p.effective_from.desc(), p.model).limit(PRICES)).all(),
            )

        rates, prices = await desk.read(work)
        today = dt.datetime.now(ids.SEOUL).date()
        past = [rate for rate in rates if rate.date <= today]
        newest = max(past, key=lambda rate: (rate.date, rate.effective_from)) if past else None
        age = 0 if newest is None else business_days_between(newest.date, today)
        return page(
            request, "operator_prices.html", settings=desk.settings, section="operator", rates=rates, newest=newest,
            age=age, stale=newest is None or age > desk.settings.fx_stale_business_days, prices=prices, words=words,
            models=sorted(builtin().models), today=today, stop=desk.settings.fx_stop_business_days,
            now=dt.datetime.now(dt.UTC),
        )  # fmt: skip

    @post("/operator/rates", action="installation.finance", installation=True)
    async def set_rate(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        given: dict[str, Any] = {"date": fields.get("date", ""), "rate": fields.get("rate", "")}
        given["insist"] = bool(fields.get("insist"))
        return cast("Response[Any]", await ask(desk, visit, "fx.set", given, back=PLACE))

    @post("/operator/prices", action="installation.finance", installation=True)
    async def set_price(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        given: dict[str, Any] = {name: fields.get(name, "") for name in ("model", "input_usd", "output_usd")}
        if threshold := fields.get("threshold", "").replace(",", ""):
            given["threshold"] = int(threshold) if threshold.isascii() and threshold.isdecimal() else threshold
            given |= {name: fields.get(name) or None for name in ("over_input_usd", "over_output_usd")}
        if start := fields.get("start"):
            given["start"] = f"{start}:00+09:00" if len(start) == 16 else start
        return cast("Response[Any]", await ask(desk, visit, "price.set", given, back=PLACE))

    return [prices_page, set_rate, set_price]
