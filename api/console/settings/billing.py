"""The company as it stands on its invoices."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from api.console.settings.layout import back, settings_page
from api.console.visit import form, visit_of
from api.manage.desk import Desk
from gateway.errors import GatewayError, InvalidRequest
from gateway.invoices import parties
from gateway.invoices.parties import PARTY_FIELDS, ProfileError


def billing_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    async def shown(
        request: Request[Any, Any, Any],
        error: GatewayError | None = None,
        typed: dict[str, str] | None = None,
        why: str = "",
    ) -> Response[bytes]:
        visit = visit_of(request)
        stored = await desk.read(lambda connection: parties.shown(connection, visit.org)) or {}
        values = {name: str(stored.get(name) or "") for name in PARTY_FIELDS}
        return settings_page(
            request, desk, "billing", error=error, fields=PARTY_FIELDS, typed=values | (typed or {}), why=why,
            entered=bool(stored), may_write=visit.may("billing_profile.write"),
        )  # fmt: skip

    @get("/settings/billing", action="billing_profile.read")
    async def billing_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await shown(request)

    @post("/settings/billing", action="billing_profile.write", status_code=200)
    async def set_profile(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        changes = {name: fields[name] for name in PARTY_FIELDS if name in fields}
        person = visit.person.person
        try:
            await desk.change(person, lambda change: parties.set_profile(change.connection, visit.org, changes, person))
        except (ProfileError, ValueError) as error:
            wrong = InvalidRequest(str(error), param=_field(str(error), changes))
            return await shown(request, wrong, changes, str(error))
        return back("billing", "saved")

    return [billing_page, set_profile]


def _field(said: str, changes: dict[str, str]) -> str:
    """Which field the message is about, as far as it tells."""
    if "company" in said or "first entry" in said:
        return "legal_name"
    if "branch" in said:
        return "branch"
    named = next((name for name in sorted(changes, key=len, reverse=True) if said.startswith(name)), "registration")
    return "billing_email" if named in ("email", "email2") else named
