"""The session's cookie: set, read, taken away; and the CSRF token that every change under it must carry."""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie

from litestar.datastructures import Cookie

from api.errors import Headers
from gateway.accounts import sessions
from gateway.errors import InvalidRequest, PermissionDenied
from gateway.settings import Settings

COOKIE = "wonrouter_session"
CSRF_HEADER = b"x-csrf-token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LONGEST_TOKEN = 128


def header(headers: Headers, wanted: bytes) -> bytes:
    """The first header with that name in lower case, or nothing."""
    return next((value for name, value in headers if name == wanted), b"")


def token_of(headers: Headers) -> str | None:
    """The session's token in the request's cookie, if there is one."""
    try:
        found = SimpleCookie(header(headers, b"cookie").decode("latin-1")).get(COOKIE)
    except CookieError:
        return None
    return found.value if found is not None and 0 < len(found.value) <= LONGEST_TOKEN else None


def check_csrf(secret: bytes, token: str, method: str, headers: Headers) -> None:
    """Raises ``PermissionDenied`` for a change under a session whose page did not read the session's CSRF token."""
    if method in SAFE_METHODS:
        return
    sent = header(headers, CSRF_HEADER).decode("latin-1")
    if not hmac.compare_digest(sent.encode(), sessions.csrf_token(secret, token).encode()):
        raise PermissionDenied("The X-CSRF-Token header is missing or wrong.", details={"reason": "csrf"})


def check_json(method: str, headers: Headers) -> None:
    """Raises ``InvalidRequest`` for a body that is not sent as JSON: forms of other pages cannot send that."""
    length, kind = header(headers, b"content-length"), header(headers, b"content-type")
    if method in SAFE_METHODS or (length in (b"", b"0") and not header(headers, b"transfer-encoding")):
        return
    if kind.split(b";")[0].strip().lower() != b"application/json":
        raise InvalidRequest("Content-Type must be application/json.")


def cookie(settings: Settings, scheme: str, token: str | None) -> Cookie:
    """The cookie that holds the token, or takes it away. ``Secure`` wherever the page itself came over TLS."""
    return Cookie(
        key=COOKIE,
        value=token or "",
        path="/",
        max_age=sessions.LONGEST_S if token else 0,
        httponly=True,
        samesite="lax",
        secure=scheme == "https" or settings.public_url.startswith("https://"),
    )
