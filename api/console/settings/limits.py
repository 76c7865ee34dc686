"""What the organisation may spend and how fast it may call."""

from __future__ import annotations

from typing import Any, cast

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from api.console.forms import limits_by_model, limits_text, number
from api.console.settings.layout import back, settings_page
from api.console.visit import form, visit_of
from api.manage.desk import Desk
from api.manage.shapes import won_in
from gateway.accounts import organisations, roles
from gateway.accounts.change import Change
from gateway.accounts.organisations import Terms
from gateway.errors import GatewayError, InvalidRequest
from gateway.money import won_text

FIELDS = ("month_limit_krw", "rpm", "tpm", "concurrency", "model_limits")


def limit_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    async def shown(
        request: Request[Any, Any, Any], error: GatewayError | None = None, typed: dict[str, str] | None = None
    ) -> Response[bytes]:
        visit = visit_of(request)
        org = await desk.read(lambda connection: organisations.get(connection, visit.org))
        stored = {
            "month_limit_krw": "" if org.month_limit_won is None else won_text(org.month_limit_won),
            "rpm": "" if org.rpm is None else str(org.rpm),
            "tpm": "" if org.tpm is None else str(org.tpm),
            "concurrency": "" if org.concurrency is None else str(org.concurrency),
            "model_limits": limits_text(org.model_limits),
        }
        values = stored if typed is None else {name: typed.get(name, stored[name]) for name in FIELDS}
        line = "organization.terms" if org.billing == "postpaid" else "organization.limits"
        return settings_page(
            request, desk, "limits", error=error, organisation=org, typed=values,
            wrong=None if error is None else error.param, may_write=visit.may("organization.limits"),
            may_line=visit.may(line),
        )  # fmt: skip

    @get("/settings/limits", action="organization.read")
    async def limits_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await shown(request)

    @post("/settings/limits", action="organization.limits", status_code=200)
    async def set_limits(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)

        def work(change: Change) -> None:
            terms: dict[str, Any] = {name: number(fields.get(name, ""), name) for name in ("rpm", "tpm", "concurrency")}
            terms["model_limits"] = limits_by_model(fields.get("model_limits", ""))
            if "month_limit_krw" in fields:
                known = organisations.get(change.connection, visit.org)
                if known.billing == "postpaid":  # what it was granted, not what it chose
                    roles.require(visit.person.roles, "organization.terms")
                typed = fields["month_limit_krw"].replace(",", "") or None
                terms["month_limit_won"] = won_in(typed, "month_limit_krw")
            organisations.update(change, visit.org, cast("Terms", terms))

        try:
            await desk.change(visit.person.person, work)
        except InvalidRequest as error:
            return await shown(request, error, fields)
        return back("limits", "saved")

    return [limits_page, set_limits]
