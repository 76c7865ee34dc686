"""Who looks at a page, in which language, and whether a form is really theirs."""

from __future__ import annotations

import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, Literal, cast
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie, UploadFile
from litestar.handlers import BaseRouteHandler

from api.console import BASE
from api.console.wording import DEFAULT, LANGS, Lang
from api.manage.desk import Desk
from api.manage.door import Guard, address_of
from api.seen import seen
from api.sessions import LONGEST_TOKEN, header, token_of
from gateway.accounts import roles, sessions
from gateway.accounts.access import Looker
from gateway.accounts.roles import Action
from gateway.errors import InvalidApiKey, InvalidRequest, PermissionDenied
from gateway.settings import Settings

PUBLIC: Final = "public"
"""The action of pages that need no session."""
LANG_COOKIE = "wonrouter_lang"
FORM_COOKIE = "wonrouter_form"
"""Ties the sign-in form to the browser that was given it, where no session does yet."""
RENEWED = "x-console-live"
"""The header by which an open page says that it renews itself: nobody has done anything."""
LANG_S = 365 * 86_400
FORM_S = 12 * 3_600
MOST_FIELDS = 50
PASSWORDS = ("password", "current")
"""Fields of which a blank at either end is a part."""


class Visit(msgspec.Struct, frozen=True):
    """One request for a page. ``own``: the person to whose things it is limited; ``token``: the session's, or empty."""

    lang: Lang
    path: str
    query: dict[str, str]
    address: str
    form_token: str
    csrf: str
    session: sessions.Session | None = None
    token: str = ""
    own: str | None = None

    @property
    def person(self) -> sessions.Session:
        """Who is signed in; the guard of the page saw to it."""
        assert self.session is not None
        return self.session

    @property
    def org(self) -> str:
        """Where they act. Raises ``InvalidRequest`` where none is chosen."""
        if self.person.org is None:
            raise InvalidRequest("Choose an organization first.", param="organization")
        return self.person.org

    @property
    def looker(self) -> Looker:
        """As the access log names them."""
        return Looker(self.org, self.person.person, self.address)

    def may(self, action: Action) -> bool:
        """Whether their role allows it at all."""
        return self.session is not None and roles.scope_of(self.session.roles, action) is not None

    def link(self, **changes: str | None) -> str:
        """This page again with some of its query changed; None takes a part away."""
        asked = {name: value for name, value in (self.query | changes).items() if value is not None}
        return f"{self.path}?{urlencode(asked)}" if asked else self.path


def visit_of(request: ASGIConnection[Any, Any, Any, Any]) -> Visit:
    """What the guard found out; for a page that has none, the language alone."""
    known = request.state.get("visit")
    return known if isinstance(known, Visit) else _stranger(cast("dict[str, Any]", request.scope), request, b"")


def guard(desk: Desk) -> Guard:
    """The guard of every page."""
    secret = desk.settings.hash_key

    async def check(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        wanted: Action | Literal["public"] = handler.opt[
            "action"
        ]  # a page without one fails: none is open by oversight
        scope = cast("dict[str, Any]", connection.scope)
        visit = _stranger(scope, connection, secret)
        connection.state.visit = visit
        token = token_of(scope["headers"])
        if token is not None:
            use = not (handler.opt.get("quiet") or RENEWED in connection.headers)
            found = await desk.read(lambda database: sessions.find(database, token, use=use))
            if found is not None:
                csrf = sessions.csrf_token(secret, token)
                visit = msgspec.structs.replace(visit, session=found, token=token, csrf=csrf)
                connection.state.visit = visit
                seen(scope).org = found.org or ""
        if wanted == PUBLIC:
            return
        if visit.session is None:
            raise InvalidApiKey()
        if wanted == "session.self":
            return
        reach = roles.require(visit.session.roles, wanted)
        if not (handler.opt.get("installation") and visit.session.operator):
            _ = visit.org  # pages of the installation need none chosen
        connection.state.visit = msgspec.structs.replace(visit, own=visit.session.person if reach == "own" else None)

    return check


async def form(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The fields of a form that one of our own pages sent. Raises ``PermissionDenied``, ``InvalidRequest``.

    The token proves it; browsers also say where a form comes from, and what they say must fit.
    """
    _check_site(request)
    try:
        pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise InvalidRequest("The form cannot be read.") from None
    return _checked(visit_of(request), dict(pairs))


async def form_with_file(request: Request[Any, Any, Any]) -> tuple[dict[str, str], bytes]:
    """The same of a form with one file, which it may lack (no bytes then). Raises as ``form`` does."""
    _check_site(request)
    sent = await request.form()
    fields = {name: value for name, value in sent.multi_items() if isinstance(value, str)}
    files = [value for _, value in sent.multi_items() if isinstance(value, UploadFile)]
    return _checked(visit_of(request), fields), await files[0].read() if files else b""


def _check_site(request: Request[Any, Any, Any]) -> None:
    if request.headers.get("sec-fetch-site", "") not in ("", "same-origin", "none"):
        raise PermissionDenied("The form comes from another site.", details={"reason": "csrf"})


def _checked(visit: Visit, fields: dict[str, str]) -> dict[str, str]:
    if not visit.csrf or not hmac.compare_digest(fields.pop("csrf", "").encode(), visit.csrf.encode()):
        raise PermissionDenied("The form's token is missing or wrong.", details={"reason": "csrf"})
    return {name: value.strip() if name not in PASSWORDS else value for name, value in fields.items()}


def own_address(request: ASGIConnection[Any, Any, Any, Any], settings: Settings) -> str:
    """Scheme and host of this installation: as it is configured, else as the caller's ``Host`` says, if that is one."""
    try:
        return (settings.public_url or str(request.base_url)).rstrip("/")
    except ValueError:
        return ""


def lang_cookie(settings: Settings, scheme: str, lang: Lang) -> Cookie:
    """The chosen language, for a year."""
    return Cookie(
        key=LANG_COOKIE, value=lang, path=BASE, max_age=LANG_S, httponly=True, samesite="lax",
        secure=_secure(settings, scheme),
    )  # fmt: skip


def form_cookie(settings: Settings, scheme: str, token: str) -> Cookie:
    """The sign-in form's token, or its end."""
    return Cookie(
        key=FORM_COOKIE, value=token, path=BASE, max_age=FORM_S if token else 0, httponly=True, samesite="strict",
        secure=_secure(settings, scheme),
    )  # fmt: skip


def _secure(settings: Settings, scheme: str) -> bool:
    return scheme == "https" or settings.public_url.startswith("https://")


def _stranger(scope: dict[str, Any], connection: ASGIConnection[Any, Any, Any, Any], secret: bytes) -> Visit:
    jar = _jar(scope["headers"])
    query = {name: str(value) for name, value in connection.query_params.items()}
    wanted = query.pop("lang", "") or jar.get(LANG_COOKIE, "")
    lang: Lang = wanted if wanted in LANGS else DEFAULT
    form_token = jar.get(FORM_COOKIE, "")
    if not 0 < len(form_token) <= LONGEST_TOKEN:
        form_token = secrets.token_urlsafe(sessions.TOKEN_BYTES)
    csrf = sessions.csrf_token(secret, f"form {form_token}") if secret else ""
    return Visit(lang, scope["path"], query, address_of(scope), form_token, csrf)


def _jar(headers: Any) -> dict[str, str]:
    try:
        return {name: part.value for name, part in SimpleCookie(header(headers, b"cookie").decode("latin-1")).items()}
    except CookieError:
        return {}
