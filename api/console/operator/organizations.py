"""Organisations of the installation: found, opened, made, and what they were granted."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from sqlalchemy import Connection

from api.console import BASE
from api.console.forms import number
from api.console.rendering import explain, go, page
from api.console.visit import form, visit_of
from api.manage.desk import Desk
from api.manage.pages import id_place, paged
from api.manage.shapes import won_in
from gateway.accounts import organisations, topups
from gateway.accounts.change import Change
from gateway.accounts.organisations import Organisation, Terms
from gateway.accounts.topups import TopUp
from gateway.errors import GatewayError, InvalidRequest
from gateway.money import won_text

ROWS = 50
TOPUPS = 20
PLACE = f"{BASE}/operator/organizations"
CHOICES = {
    "billing": ("prepaid", "postpaid"),
    "policy": ("optimistic", "strict"),
    "state": ("active", "suspended"),
}
NUMBERS = ("rpm", "tpm", "concurrency")
METHODS = ("transfer", "card", "promotion")


def organization_pages(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    async def listed(
        request: Request[Any, Any, Any], error: GatewayError | None = None, typed: dict[str, str] | None = None
    ) -> Response[bytes]:
        visit = visit_of(request)
        words = visit.query.get("q", "").strip()[:100]
        start = id_place(visit.query.get("after"))
        found = await desk.read(lambda connection: organisations.search(connection, words, ROWS + 1, after=start))
        shown = paged(list(found), ROWS, lambda each: each.id)
        return page(
            request, "operator_organizations.html", settings=desk.settings, section="operator", rows=shown.data,
            next=shown.next, first=start is None, words=words, typed=typed or {}, choices=CHOICES,
            problem="" if error is None else explain(visit, error), status=200 if error is None else error.status,
        )  # fmt: skip

    @get("/operator/organizations", action="installation.organizations", installation=True)
    async def organizations_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await listed(request)

    @post("/operator/organizations", action="installation.organizations", installation=True, status_code=200)
    async def create_organization(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, typed = visit_of(request), await form(request)
        try:
            terms = cast("Terms", {"name": typed.get("name", ""), "billing": typed.get("billing", "prepaid")})
            made = await desk.change(visit.person.person, lambda change: organisations.create(change, terms))
        except InvalidRequest as error:
            return await listed(request, error, typed)
        return cast("Response[Any]", go(f"{PLACE}/{made.id}"))

    return [organizations_page, create_organization, *_one_organization(desk)]


def _one_organization(desk: Desk) -> list[HTTPRouteHandler]:
    async def shown(
        request: Request[Any, Any, Any],
        org: str,
        error: GatewayError | None = None,
        typed: dict[str, str] | None = None,
    ) -> Response[bytes]:
        def work(connection: Connection) -> tuple[Organisation, Sequence[TopUp]]:
            return organisations.get(connection, org), topups.page(connection, org, most=TOPUPS)

        found, bought = await desk.read(work)
        limit = found.month_limit_won
        values = {name: _plain(getattr(found, name)) for name in ("name", *CHOICES, *NUMBERS)}
        values["month_limit_krw"] = "" if limit is None else won_text(limit)
        return page(
            request, "operator_organization.html", settings=desk.settings, section="operator", found=found,
            typed=values | (typed or {}), choices=CHOICES, topups=bought, methods=METHODS,
            problem="" if error is None else explain(visit_of(request), error),
            status=200 if error is None else error.status,
        )  # fmt: skip

    @get("/operator/organizations/{org:str}", action="installation.organizations", installation=True)
    async def organization_page(request: Request[Any, Any, Any], org: FromPath[str]) -> Response[bytes]:
        return await shown(request, org)

    @post("/operator/organizations/{org:str}", action="organization.terms", installation=True, status_code=200)
    async def change_terms(request: Request[Any, Any, Any], org: FromPath[str]) -> Response[Any]:
        visit, typed = visit_of(request), await form(request)
        try:
            terms = _terms(typed)
            await desk.change(visit.person.person, lambda change: organisations.update(change, org, terms))
        except InvalidRequest as error:
            return await shown(request, org, error, typed)
        return cast("Response[Any]", go(f"{PLACE}/{org}"))

    @post("/operator/organizations/{org:str}/topups", action="topup.write", installation=True, status_code=200)
    async def top_up(request: Request[Any, Any, Any], org: FromPath[str]) -> Response[Any]:
        visit, typed = visit_of(request), await form(request)
        amount = typed.get("amount", "").replace(",", "")
        method, reference = typed.get("method", ""), typed.get("reference", "")

        def work(change: Change) -> TopUp:
            if method not in METHODS or not (amount.isascii() and amount.isdecimal() and len(amount) < 12):
                raise InvalidRequest("Not a whole amount.", param="amount")
            return topups.request(change, org, int(amount), method, reference)

        try:
            await desk.change(visit.person.person, work)
        except InvalidRequest as error:
            return await shown(request, org, error)
        return cast("Response[Any]", go(f"{PLACE}/{org}"))

    return [organization_page, change_terms, top_up]


def _plain(value: str | int | None) -> str:
    return "" if value is None else str(value)


def _terms(typed: dict[str, str]) -> Terms:
    """Everything of the form; an empty field sets no limit. Raises ``InvalidRequest``."""
    values: dict[str, Any] = {name: typed[name] for name in ("name", *CHOICES) if name in typed}
    limit = typed.get("month_limit_krw", "").replace(",", "")
    values["month_limit_won"] = won_in(limit, "month_limit_krw") if limit else None
    for name in NUMBERS:
        values[name] = number(typed.get(name, ""), name)
    assert values["month_limit_won"] is None or isinstance(values["month_limit_won"], Decimal)
    return cast("Terms", values)
