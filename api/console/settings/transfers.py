"""To whom requests go, in which country, for how long it is kept: the register; and the two switches that narrow it."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from sqlalchemy import Connection

from api.console import wording
from api.console.settings.layout import back, settings_page
from api.console.visit import form, visit_of
from api.manage.desk import Desk
from gateway.accounts import organisations, retention
from gateway.deployments import register
from gateway.errors import InvalidRequest


def transfer_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""
    path, judge = desk.settings.provider_register, desk.parts.moderation.judge

    @get("/settings/transfers", action="privacy.read")
    async def transfers_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        visit = visit_of(request)

        def work(connection: Connection) -> tuple[Any, ...]:
            return (
                organisations.get(connection, visit.org),
                register.recipients(connection, visit.org, path, judge),
                retention.listed(connection),
            )

        org, recipients, classes = await desk.read(work)
        return settings_page(
            request, desk, "transfers", organisation=org, recipients=recipients, classes=classes, has=wording.has,
            in_korean=register.facts(path) if visit.lang == "ko" else {}, unknown=register.UNKNOWN,
            may_write=visit.may("organization.privacy"),
        )  # fmt: skip

    @post("/settings/transfers", action="organization.privacy", status_code=200)
    async def set_switches(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        if fields.get("form") != "switches":
            raise InvalidRequest("Not the form of this page.")
        terms: organisations.Terms = {
            "domestic_only": "domestic_only" in fields,
            "no_training": "no_training" in fields,
        }
        await desk.change(visit.person.person, lambda change: organisations.update(change, visit.org, terms))
        return back("transfers", "saved")

    return [transfers_page, set_switches]
