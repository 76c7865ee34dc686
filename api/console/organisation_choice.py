"""In which organisation somebody acts: chosen among their own, or by an operator among all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from sqlalchemy import Connection

from api.console import BASE
from api.console.rendering import go, page
from api.console.visit import form, visit_of
from api.manage.signing import Signing
from api.sessions import cookie
from gateway.accounts import organisations
from gateway.accounts.organisations import Organisation

MOST = 50


def choice_routes(signing: Signing) -> list[HTTPRouteHandler]:
    """The handlers."""
    desk = signing.desk

    @get("/organization", action="session.self")
    async def choice_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        visit = visit_of(request)
        person, words = visit.person, visit.query.get("q", "").strip()

        def work(connection: Connection) -> tuple[Sequence[Organisation], Sequence[Organisation]]:
            mine = organisations.of_person(connection, person.person)
            none: Sequence[Organisation] = ()
            others = organisations.search(connection, words, MOST) if person.operator else none
            known = {org.id for org in mine}
            return mine, [org for org in others if org.id not in known]

        mine, others = await desk.read(work)
        return page(
            request,
            "organization_choice.html",
            settings=desk.settings,
            mine=mine,
            others=others,
            words=words,
            most=MOST,
        )

    @post("/organization", action="session.self")
    async def choose(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        token = await signing.move(visit.person, visit.token, fields.get("organization", ""))
        return go(BASE, [cookie(desk.settings, request.scope["scheme"], token)])

    return [choice_page, choose]
