"""Signing in and out."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from api.console import BASE
from api.console.rendering import explain, go, page
from api.console.visit import PUBLIC, form, form_cookie, visit_of
from api.manage.signing import Signing
from api.sessions import cookie
from gateway.errors import GatewayError, InvalidApiKey, PermissionDenied, RateLimitExceeded


def sign_in_routes(signing: Signing) -> list[HTTPRouteHandler]:
    """The handlers."""
    settings = signing.desk.settings

    def show(request: Request[Any, Any, Any], error: GatewayError | None = None, **typed: str) -> Response[bytes]:
        visit = visit_of(request)
        values: dict[str, Any] = {
            "email": "",
            "next": visit.query.get("next", ""),
            "company": bool(settings.oidc_issuer),
            **typed,
        }
        answer = page(
            request,
            "sign_in.html",
            settings=settings,
            status=200 if error is None else error.status,
            cookies=[form_cookie(settings, request.scope["scheme"], visit.form_token)],
            problem="" if error is None else _why(request, error),
            **values,
        )
        if error is not None and error.retry_after_s is not None:
            answer.headers["retry-after"] = str(int(error.retry_after_s))
        return answer

    @get("/sign-in", action=PUBLIC)
    async def sign_in_page(request: Request[Any, Any, Any]) -> Response[Any]:
        visit = visit_of(request)
        return show(request) if visit.session is None else go(place_of(visit.query.get("next", "")))

    @post("/sign-in", action=PUBLIC)
    async def sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
        visit = visit_of(request)
        if visit.session is not None:
            return go(BASE)  # in another tab, with a form that is now too old
        try:
            fields = await form(request)
        except PermissionDenied as error:
            return show(request, error)
        email, place = fields.get("email", ""), fields.get("next", "")
        try:
            token = await signing.begin(email, fields.get("password", ""), visit.address)
        except (InvalidApiKey, RateLimitExceeded, PermissionDenied) as error:
            return show(request, error, email=email, next=place)
        scheme = request.scope["scheme"]
        return go(place_of(place), [cookie(settings, scheme, token), form_cookie(settings, scheme, "")])

    @post("/sign-out", action="session.self")
    async def sign_out(request: Request[Any, Any, Any]) -> Response[Any]:
        await form(request)
        visit = visit_of(request)
        await signing.end(visit.person.person, visit.token)
        return go(f"{BASE}/sign-in", [cookie(settings, request.scope["scheme"], None)])

    return [sign_in_page, sign_in, sign_out]


def place_of(wanted: str) -> str:
    """Where to go next: a page of ours, wherever the link may want to lead."""
    ours = wanted.startswith(f"{BASE}/") and "\\" not in wanted and "//" not in wanted and wanted.isprintable()
    return wanted if ours else BASE


def _why(request: Request[Any, Any, Any], error: GatewayError) -> str:
    return explain(visit_of(request), error)
