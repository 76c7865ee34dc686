"""One's own account: who one is here, and another password."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from api.console.settings.layout import back, settings_page
from api.console.visit import form, visit_of
from api.manage.signing import Signing
from gateway.accounts.people import SHORTEST_PASSWORD
from gateway.errors import GatewayError, InvalidApiKey, InvalidRequest, RateLimitExceeded


def account_routes(signing: Signing) -> list[HTTPRouteHandler]:
    """The handlers."""
    desk = signing.desk

    def shown(request: Request[Any, Any, Any], error: GatewayError | None = None) -> Response[bytes]:
        return settings_page(request, desk, "account", error=error, shortest=SHORTEST_PASSWORD)

    @get("/settings/account", action="session.self")
    async def account_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return shown(request)

    @post("/settings/account/password", action="session.self", status_code=200)
    async def change_password(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        try:
            await signing.change_password(
                visit.person, visit.token, fields.get("current", ""), fields.get("password", ""), visit.address
            )
        except InvalidApiKey:
            return shown(request, InvalidApiKey(param="account"))
        except (InvalidRequest, RateLimitExceeded) as error:
            return shown(request, error)
        return back("account", "saved")

    return [account_page, change_password]
