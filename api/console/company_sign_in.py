"""The button "sign in with your company account": to the identity provider and back."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import Cookie
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect

from api.console import BASE
from api.console.rendering import go
from api.console.sign_in import place_of
from api.console.visit import PUBLIC, own_address, visit_of
from api.manage.signing import Signing
from api.oidc import FLOW_S, Flow, Provider
from api.sessions import cookie
from gateway.errors import InvalidRequest, PermissionDenied
from gateway.seal import Sealer, Unsealable

PLACE = f"{BASE}/sign-in/company"
FLOW_COOKIE = "wonrouter_company"


def company_routes(signing: Signing) -> list[HTTPRouteHandler]:
    """The handlers; none where no provider is configured."""
    settings = signing.desk.settings
    if not settings.oidc_issuer:
        return []
    provider, sealer = Provider(settings), settings.sealer("oidc")

    def flow_cookie(request: Request[Any, Any, Any], value: str) -> Cookie:
        secure = request.scope["scheme"] == "https" or settings.public_url.startswith("https://")
        # lax: it has to come back with the provider's redirect
        return Cookie(
            key=FLOW_COOKIE, value=value, path=PLACE, max_age=FLOW_S if value else 0, httponly=True, samesite="lax",
            secure=secure,
        )  # fmt: skip

    def return_address(request: Request[Any, Any, Any]) -> str:
        return own_address(request, settings) + f"{PLACE}/return"

    @get("/sign-in/company", action=PUBLIC)
    async def leave(request: Request[Any, Any, Any]) -> Response[Any]:
        visit = visit_of(request)
        place = place_of(visit.query.get("next", ""))
        if visit.session is not None:
            return go(place)
        where, flow = await provider.begin(return_address(request), place)
        sealed = base64.urlsafe_b64encode(sealer.seal(msgspec.json.encode(flow), b"flow")).decode()
        headers = {"cache-control": "no-store"}
        return Redirect(where, status_code=303, headers=headers, cookies=[flow_cookie(request, sealed)])

    @get("/sign-in/company/return", action=PUBLIC)
    async def come_back(request: Request[Any, Any, Any]) -> Response[Any]:
        visit = visit_of(request)
        flow = _flow(sealer, request.cookies.get(FLOW_COOKIE, ""))
        if "error" in visit.query:
            raise PermissionDenied("The identity provider refused.", details={"reason": "oidc"})
        await signing.throttle.attempt(f"company {visit.address}", visit.address)
        code, state = visit.query.get("code", ""), visit.query.get("state", "")
        who = await provider.finish(flow, state, code, return_address(request))
        token = await signing.begin_verified(who.email, who.name)
        await signing.throttle.succeeded(f"company {visit.address}", visit.address)
        jar = [cookie(settings, request.scope["scheme"], token), flow_cookie(request, "")]
        return go(flow.place, jar)

    return [leave, come_back]


def _flow(sealer: Sealer, sealed: str) -> Flow:
    """What the browser kept. Raises ``InvalidRequest`` where it kept nothing of ours."""
    try:
        return msgspec.json.decode(sealer.open(base64.urlsafe_b64decode(sealed), b"flow"), type=Flow)
    except (Unsealable, binascii.Error, ValueError, msgspec.MsgspecError):
        raise InvalidRequest("This sign-in was not begun here.", param="sign_in") from None
