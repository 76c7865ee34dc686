"""What is left, and what came in."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from api.manage.desk import Desk
from api.manage.door import asked
from api.manage.pages import After, Limit, Page, id_place, paged
from api.manage.shapes import Input
from api.routes.account import window, won, won_or_none
from gateway.accounts import topups
from gateway.accounts.organisations import Billing
from gateway.accounts.organisations import get as get_organisation
from gateway.accounts.store import micro
from gateway.accounts.topups import Method, TopUp
from gateway.wire import ids, keys


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

        async def ask() -> TopUp:
            return await desk.change(
                caller.actor,
                lambda change: topups.request(
                    change, caller.org, data.amount_krw, data.method, data.reference, expires_at=data.expires_at
                ),
            )

        raw = request.scope["path"].encode() + await request.body()
        headers = request.scope["headers"]
        made = await desk.parts.idempotency.value(headers, caller.org, f"{caller.org} {caller.actor}", raw, ask)
        return msgspec.convert(made, TopUp)

    return [show_credit, list_topups, create_topup]
