"""Where the links in our mail lead: an invitation taken up, a forgotten password replaced.

The link's token stands behind ``#``, so no server's log ever holds it; a script moves it into the form, and without
one the reader pastes the link.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from api.console import BASE
from api.console.rendering import SIGN_IN, explain, go, page
from api.console.visit import PUBLIC, form, form_cookie, visit_of
from api.manage.signing import Signing
from api.sessions import cookie
from gateway.accounts import links, mail
from gateway.accounts.links import Invited
from gateway.accounts.people import SHORTEST_PASSWORD
from gateway.errors import GatewayError, InvalidApiKey, InvalidRequest, NotFound, PermissionDenied, RateLimitExceeded
from gateway.settings import Settings

INVITATION, PASSWORD = f"{BASE}/invitation", f"{BASE}/password"
REFUSALS = (InvalidApiKey, InvalidRequest, NotFound, PermissionDenied, RateLimitExceeded)
"""What the page itself tells; anything else is a page of its own."""


def joining_routes(signing: Signing) -> list[HTTPRouteHandler]:
    """The handlers."""
    return [*_invitation_routes(signing), *_password_routes(signing)]


def _invitation_routes(signing: Signing) -> list[HTTPRouteHandler]:
    settings = signing.desk.settings

    def show(
        request: Request[Any, Any, Any],
        found: Invited | None = None,
        error: GatewayError | None = None,
        token: str = "",
        name: str = "",
    ) -> Response[bytes]:
        return _page(
            request, settings, "invitation.html", error, found=found, token=token, name=name, shortest=SHORTEST_PASSWORD
        )

    @get("/invitation", action=PUBLIC)
    async def invitation_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return show(request)

    @post("/invitation", action=PUBLIC, status_code=200)
    async def open_invitation(request: Request[Any, Any, Any]) -> Response[bytes]:
        try:
            token = _token(await form(request))
            return show(request, await signing.invitation(token, visit_of(request).address), token=token)
        except REFUSALS as error:
            return show(request, error=error)

    @post("/invitation/acceptance", action=PUBLIC, status_code=200)
    async def accept(request: Request[Any, Any, Any]) -> Response[Any]:
        visit = visit_of(request)
        found, token, name = None, "", ""
        try:
            fields = await form(request)
            token, name = _token(fields), fields.get("name", "")
            found = await signing.desk.read(lambda connection: links.invited(connection, token))
            session = await signing.accept(token, fields.get("password", ""), name, visit.address)
        except REFUSALS as error:
            return show(request, found, error, token, name)
        scheme = request.scope["scheme"]
        return go(BASE, [cookie(settings, scheme, session), form_cookie(settings, scheme, "")])

    return [invitation_page, open_invitation, accept]


def _password_routes(signing: Signing) -> list[HTTPRouteHandler]:
    settings = signing.desk.settings

    @get("/password/forgotten", action=PUBLIC)
    async def forgotten_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return _page(request, settings, "password_forgotten.html", sent=False, mail=mail.possible(settings))

    @post("/password/forgotten", action=PUBLIC, status_code=200)
    async def ask(request: Request[Any, Any, Any]) -> Response[bytes]:
        error: GatewayError | None = None
        try:
            fields = await form(request)
            await signing.ask_reset(fields.get("email", ""), visit_of(request).address)
        except REFUSALS as refused:
            error = refused
        sent = error is None
        return _page(request, settings, "password_forgotten.html", error, sent=sent, mail=mail.possible(settings))

    @get("/password", action=PUBLIC)
    async def password_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return _page(request, settings, "password.html", token="", done=False, shortest=SHORTEST_PASSWORD)

    @post("/password", action=PUBLIC, status_code=200)
    async def set_password(request: Request[Any, Any, Any]) -> Response[Any]:
        error: GatewayError | None = None
        token = ""
        try:
            fields = await form(request)
            token = _token(fields)
            await signing.use_reset(token, fields.get("password", ""), visit_of(request).address)
        except REFUSALS as refused:
            error = refused
        done = error is None
        return _page(request, settings, "password.html", error, token=token, done=done, shortest=SHORTEST_PASSWORD)

    return [forgotten_page, ask, password_page, set_password]


def _token(fields: dict[str, str]) -> str:
    """The token, also out of a whole link that was pasted. Raises ``InvalidRequest``."""
    token = fields.get("token", "").rpartition("#")[2]
    if not token:
        raise InvalidRequest("The link is missing.", param="token")
    return token


def _page(
    request: Request[Any, Any, Any], settings: Settings, template: str, error: GatewayError | None = None, **values: Any
) -> Response[bytes]:
    visit = visit_of(request)
    answer = page(
        request,
        template,
        settings=settings,
        status=200 if error is None else error.status,
        # a form of somebody without a session is tied to their browser
        cookies=[] if visit.session else [form_cookie(settings, request.scope["scheme"], visit.form_token)],
        problem="" if error is None else _why(request, error),
        sign_in=SIGN_IN,
        **values,
    )
    if error is not None and error.retry_after_s is not None:
        answer.headers["retry-after"] = str(int(error.retry_after_s))
    return answer


def _why(request: Request[Any, Any, Any], error: GatewayError) -> str:
    if isinstance(error, NotFound):
        error = NotFound(param="link")
    if isinstance(error, InvalidApiKey):
        error = InvalidApiKey(param="account")
    return explain(visit_of(request), error)
