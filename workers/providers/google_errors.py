"""What Gemini's errors mean for routing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec

from workers.providers.base import FailureKind, ProviderFailure
from workers.providers.openai_errors import retry_after

_BY_STATUS: dict[str, FailureKind] = {
    "INVALID_ARGUMENT": "bad_request",
    "FAILED_PRECONDITION": "credentials",  # our account: billing is off, or its region is not served
    "OUT_OF_RANGE": "bad_request",
    "UNAUTHENTICATED": "credentials",
    "PERMISSION_DENIED": "credentials",
    "NOT_FOUND": "not_found",
    "RESOURCE_EXHAUSTED": "rate_limited",
    "CANCELLED": "server",
    "INTERNAL": "server",
    "UNKNOWN": "server",
    "UNAVAILABLE": "overloaded",
    "DEADLINE_EXCEEDED": "timeout",
}
_BY_CODE: dict[int, FailureKind] = {
    401: "credentials",
    402: "credentials",
    403: "credentials",
    404: "not_found",
    408: "timeout",
    429: "rate_limited",
    503: "overloaded",
    504: "timeout",
}
_CONTEXT = re.compile(
    r"exceeds? the maximum number of tokens|input token count|context (?:length|window)", re.IGNORECASE
)
_KEY = re.compile(r"API[ _]key (?:not valid|not found|expired)", re.IGNORECASE)
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")
_decode = msgspec.json.Decoder().decode


def classify(status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
    """The failure behind an HTTP error. Header names are lower case."""
    error = _error(body)
    wait = retry_after(headers)
    return ProviderFailure(
        kind=_kind(status, error),
        message=str(error.get("message") or body[:200].decode("utf-8", "replace"))[:500],
        status=status,
        retry_after_s=wait if wait is not None else _delay(error),
        body=body,
        content_type=headers.get("content-type", "application/json"),
    )


def in_stream(data: bytes) -> ProviderFailure:
    """The failure behind an error object that came under a 200."""
    error = _error(data)
    code = error.get("code")
    kind = _kind(code if type(code) is int else 500, error)
    message = str(error.get("message") or "")[:500]
    return ProviderFailure(kind=kind, message=message, status=200, retry_after_s=_delay(error), body=data)


def _kind(status: int, error: Mapping[str, Any]) -> FailureKind:
    message = str(error.get("message") or "")
    if _KEY.search(message) or any(str(d.get("reason", "")).startswith("API_KEY") for d in _details(error)):
        return "credentials"
    if status in _BY_CODE:
        return _BY_CODE[status]
    kind = _BY_STATUS.get(str(error.get("status") or ""))
    if kind == "bad_request" or (kind is None and status == 400):
        return "context_length" if _CONTEXT.search(message) else "bad_request"
    return kind or ("server" if status >= 500 or status < 400 else "bad_request")


def _error(body: bytes) -> Mapping[str, Any]:
    """The error object; without `alt=sse` it comes inside a list."""
    try:
        decoded: object = _decode(body)
    except msgspec.DecodeError:
        return {}
    if isinstance(decoded, list) and decoded:
        decoded = cast("list[object]", decoded)[0]
    error = cast("dict[str, Any]", decoded).get("error") if isinstance(decoded, dict) else None
    return cast("dict[str, Any]", error) if isinstance(error, dict) else {}


def _details(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    details = error.get("details")
    for detail in cast("list[object]", details) if isinstance(details, list) else ():
        if isinstance(detail, dict):
            yield cast("dict[str, Any]", detail)


def _delay(error: Mapping[str, Any]) -> float | None:
    """Seconds of `RetryInfo.retryDelay`, which is written like `3.5s`."""
    for detail in _details(error):
        found = _DELAY.fullmatch(str(detail.get("retryDelay") or ""))
        if found is not None:
            return float(found[1])
    return None
