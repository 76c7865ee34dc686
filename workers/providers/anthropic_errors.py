"""What Anthropic's errors mean for routing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from workers.providers.base import FailureKind, ProviderFailure
from workers.providers.openai_errors import retry_after

_BY_TYPE: dict[str, FailureKind] = {
    "invalid_request_error": "bad_request",
    "authentication_error": "credentials",
    "billing_error": "credentials",
    "permission_error": "credentials",
    "not_found_error": "not_found",
    "request_too_large": "bad_request",
    "rate_limit_error": "rate_limited",
    "timeout_error": "timeout",
    "api_error": "server",
    "overloaded_error": "overloaded",
}
_BY_STATUS: dict[int, FailureKind] = {
    401: "credentials",
    402: "credentials",
    403: "credentials",
    404: "not_found",
    408: "timeout",
    429: "rate_limited",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
_BY_TEXT: tuple[tuple[str, FailureKind], ...] = (
    ("prompt is too long", "context_length"),
    ("exceed context limit", "context_length"),
    ("credit balance is too low", "credentials"),
    ("usage limits", "credentials"),
    ("content filtering policy", "content_policy"),
)
"""Cases that share `invalid_request_error` with plain mistakes. Our balance is ours: nobody else is to read of it."""

_decode = msgspec.json.Decoder().decode


def classify(status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
    """The failure behind an HTTP error. Header names are lower case."""
    kind, message = _kind(body)
    known = _BY_STATUS.get(status)
    if known is None:
        fits = kind is not None and ((status >= 500) == (kind in ("server", "overloaded", "timeout")))
        known = kind if fits and kind else ("server" if status >= 500 or status < 400 else "bad_request")
    return ProviderFailure(
        kind=known,
        message=message[:500],
        status=status,
        retry_after_s=retry_after(headers),
        body=body,
        content_type=headers.get("content-type", "application/json"),
    )


def in_stream(event: bytes) -> ProviderFailure:
    """The failure behind an error event that came under a 200."""
    kind, message = _kind(event)
    return ProviderFailure(kind=kind or "server", message=message[:500], status=200, body=event)


def _kind(body: bytes) -> tuple[FailureKind | None, str]:
    try:
        decoded = _decode(body)
    except msgspec.DecodeError:
        return None, body[:200].decode("utf-8", "replace")
    error = cast("dict[str, Any]", decoded).get("error") if isinstance(decoded, dict) else None
    if not isinstance(error, dict):
        return None, ""
    fields = cast("dict[str, Any]", error)
    kind: FailureKind | None = _BY_TYPE.get(str(fields.get("type")))
    message = str(fields.get("message") or "")
    if kind == "bad_request":
        lower = message.lower()
        for text, meant in _BY_TEXT:
            if text in lower:
                return meant, message
    return kind, message
