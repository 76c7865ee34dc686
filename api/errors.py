"""The one place that turns errors into HTTP: ours, the framework's, and the unexpected."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from gateway.errors import (
    BodyTooLarge,
    Conflict,
    CreditLimitExceeded,
    GatewayError,
    InternalError,
    InvalidApiKey,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ProviderAnswered,
    RateLimitExceeded,
    ServiceUnavailable,
)
from gateway.wire.job import Surface

Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
PAUSE_S = 1.0
"""What Retry-After says where an overload gives no better number."""

_LEFT = "client disconnected prematurely"
"""Litestar's words for it, which it calls an internal error."""

log = structlog.get_logger()


class MethodNotAllowed(NotFound):
    """The path exists, the method does not."""

    status, code, type, default = 405, "method_not_allowed", "invalid_request_error", "Method not allowed"


class ClientLeft(InvalidRequest):
    """The client went away before its request was here. Nobody reads the answer; metrics and log count it by its status."""

    status, code, default = 499, "client_left", "The client left before its request was complete"


class NotConfigured(ServiceUnavailable):
    """Nobody has set up a way to do this: trying again in a second would not help."""


class Overloaded(ServiceUnavailable):
    """More work than can be done in the promised time: refused at once, before anything is taken."""

    default = "The service is overloaded at the moment. Please try again later."


class CallTooLarge(RateLimitExceeded):
    """The call alone may use more tokens than the limit allows in a minute: it would never pass."""

    default = "This request may use more tokens than your limit per minute. Please lower max_tokens or shorten it."


def surface_of(path: str) -> Surface:
    """The product surface that a path belongs to: the base path alone decides the status of an exhausted credit."""
    return "krouter" if path.startswith("/v1/") or path == "/v1" else "bizrouter"


def start_message(status: int, headers: Headers) -> Any:
    """The ASGI message that opens an answer."""
    return {"type": "http.response.start", "status": status, "headers": headers}


def error_answer(error: GatewayError, surface: Surface) -> tuple[int, Headers, bytes]:
    """Status, headers and body of an error."""
    if isinstance(error, ProviderAnswered):
        headers = [
            (b"content-type", error.content_type.encode("latin-1", "replace")),
            (b"x-wonrouter-error-source", b"provider"),
        ]
        return error.status_code, _with_length(headers + _retry(error), error.raw), error.raw
    status = error.status
    if isinstance(error, CreditLimitExceeded) and surface == "krouter":
        status = 402
    body = msgspec.json.encode(_with_pause(error).body())
    headers: Headers = [JSON, *_retry(error)]
    never = isinstance(error, (CreditLimitExceeded, NotConfigured, CallTooLarge))
    if never or (isinstance(error, Conflict) and not error.retryable):
        headers.append((b"x-should-retry", b"false"))
    return status, _with_length(headers, body), body


def _with_pause(error: GatewayError) -> GatewayError:
    if isinstance(error, RateLimitExceeded):
        error.details = {**(error.details or {}), "retry_after": _seconds(error)}
    return error


def _seconds(error: GatewayError) -> int:
    return max(1, math.ceil(error.retry_after_s or PAUSE_S))


def _retry(error: GatewayError) -> Headers:
    if not isinstance(error, (RateLimitExceeded, ServiceUnavailable)) and error.retry_after_s is None:
        return []
    exact = max(1, math.ceil((error.retry_after_s or PAUSE_S) * 1000))
    return [(b"retry-after", str(_seconds(error)).encode()), (b"retry-after-ms", str(exact).encode())]


def _with_length(headers: Headers, body: bytes) -> Headers:
    return [*headers, (b"content-length", str(len(body)).encode())]


def as_gateway_error(exc: Exception) -> GatewayError:
    """Any exception as a member of the tree. What nobody expected is logged with its trace and shown to nobody."""
    if isinstance(exc, GatewayError):
        return exc
    if isinstance(exc, HTTPException):
        if exc.status_code == 500 and exc.detail == _LEFT:
            return ClientLeft()
        match exc.status_code:
            case 404:
                return NotFound("Not found")
            case 405:
                return MethodNotAllowed()
            case 413:
                return BodyTooLarge()
            case 401:
                return InvalidApiKey()
            case 403:
                return PermissionDenied()
            case status if 400 <= status < 500:
                return InvalidRequest(exc.detail)
            case _:
                pass
    log.error("unexpected_error", exc_info=exc)
    return InternalError()


def handle(request: Request[Any, Any, Any], exc: Exception) -> Response[bytes]:
    """Litestar's exception handler for everything."""
    status, headers, body = error_answer(as_gateway_error(exc), surface_of(request.scope["path"]))
    shown = {name.decode(): value.decode("latin-1") for name, value in headers}
    return Response(body, status_code=status, headers=shown, media_type=shown["content-type"])
