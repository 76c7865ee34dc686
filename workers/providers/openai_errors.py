"""What an OpenAI-compatible provider's error means for routing."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from workers.providers.base import FailureKind, ProviderFailure

_decode = msgspec.json.Decoder().decode

_BY_CODE: dict[str, FailureKind] = {
    "context_length_exceeded": "context_length",
    "string_above_max_length": "context_length",
    "content_filter": "content_policy",
    "content_policy_violation": "content_policy",
    "invalid_prompt": "content_policy",
    "insufficient_quota": "rate_limited",
    "rate_limit_exceeded": "rate_limited",
    "overloaded_error": "overloaded",
    "insufficient_system_resource": "overloaded",
    "invalid_api_key": "credentials",
    "server_error": "server",
    # Z.AI: its table of business codes; most of them come with status 429
    **dict.fromkeys(("1110", "1111", "1112", "1113", "1121", "1220", "1309", "1311"), "credentials"),
    **dict.fromkeys(("1120", "1200", "1230", "1234"), "server"),
    **dict.fromkeys(("1210", "1212", "1213", "1214", "1215"), "bad_request"),
    **dict.fromkeys(("1211", "1221", "1222"), "not_found"),
    "1261": "context_length",
    **dict.fromkeys(("1300", "1301"), "content_policy"),
    **dict.fromkeys(("1302", "1303", "1304", "1305", "1308", "1310", "1313"), "rate_limited"),
    "1312": "overloaded",
    # Moonshot
    "exceeded_current_quota_error": "credentials",
    "rate_limit_reached_error": "rate_limited",
    "engine_overloaded_error": "overloaded",
    # Qwen
    "Arrearage": "credentials",
    "data_inspection_failed": "content_policy",
    "DataInspectionFailed": "content_policy",
}
"""Codes are the providers' own words and do not overlap, so one table reads all of them."""
_INSIDE: dict[int, FailureKind] = {
    1000: "server",
    1001: "timeout",
    1002: "rate_limited",
    1004: "credentials",
    1008: "credentials",
    1013: "server",
    1024: "server",
    1026: "content_policy",
    1027: "content_policy",
    1033: "server",
    1039: "rate_limited",  # tokens a minute
    1041: "rate_limited",
    2013: "bad_request",
    2045: "rate_limited",
    2049: "credentials",
    2056: "rate_limited",
}
"""MiniMax answers 200 and puts its error into `base_resp`."""
_BY_TEXT: tuple[tuple[str, FailureKind], ...] = (
    ("maximum context length", "context_length"),
    ("maximum prompt length", "context_length"),
    ("exceeded model token limit", "context_length"),
    ("input token length too long", "context_length"),
    ("context window exceeds limit", "context_length"),
    ("range of input length", "context_length"),
    ("incorrect api key", "credentials"),
    ("insufficient balance", "credentials"),
    ("violates usage guidelines", "content_policy"),
)
"""Cases whose code says nothing (DeepSeek, xAI, Moonshot, Qwen, MiniMax), by what the message always contains."""
_BY_STATUS: dict[int, FailureKind] = {
    401: "credentials",
    402: "credentials",
    403: "credentials",
    404: "not_found",
    408: "timeout",
    429: "rate_limited",
    434: "credentials",  # Z.AI: no right to this API
    503: "overloaded",
    529: "overloaded",
}


def classify(status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
    """The failure behind an HTTP error. Header names are lower case."""
    message, code = _message(body)
    kind = _BY_STATUS.get(status) or ("server" if status >= 500 or status < 400 else "bad_request")
    by_code = _BY_CODE.get(code) or _by_text(message, status)
    if by_code is not None and (status in (400, 413, 422, 429) or by_code == "content_policy"):
        kind = by_code
    return ProviderFailure(
        kind=kind,
        message=message[:500],
        status=status,
        retry_after_s=retry_after(headers),
        body=body,
        content_type=headers.get("content-type", "application/json"),
    )


def _by_text(message: str, status: int) -> FailureKind | None:
    if status >= 500:
        return None
    lower = message.lower()
    return next((kind for text, kind in _BY_TEXT if text in lower), None)


def refused_inside(base_resp: object, body: bytes) -> ProviderFailure | None:
    """The failure that MiniMax tells under a 200, or None where all is well."""
    fields = cast("dict[str, Any]", base_resp) if isinstance(base_resp, dict) else {}
    code = fields.get("status_code")
    if type(code) is not int or code == 0:
        return None
    message = str(fields.get("status_msg") or "")[:500]
    kind = _INSIDE.get(code, "server")
    if kind == "bad_request":
        kind = _by_text(message, 400) or kind
    return ProviderFailure(kind=kind, message=message, status=200, body=body)


def in_stream(error: bytes, event: bytes) -> ProviderFailure:
    """The failure behind an error object that came under a 200."""
    message, code = _message(b'{"error":' + error + b"}")
    return ProviderFailure(kind=_BY_CODE.get(code, "server"), message=message[:500], status=200, body=event)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the provider asks us to wait, or None."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    if (seconds := _number(text)) is not None:
        return seconds
    if text:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
        except ValueError:
            return None
    return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < 86_400 else None


def _message(body: bytes) -> tuple[str, str]:
    """The error's text and its code (or type, where it has no code). xAI writes `{"code", "error": "text"}`."""
    try:
        decoded = _decode(body)
    except msgspec.DecodeError:
        return body[:200].decode("utf-8", "replace"), ""
    if not isinstance(decoded, dict):
        return "", ""
    outer = cast("dict[str, Any]", decoded)
    error = outer.get("error")
    if isinstance(error, dict):
        inner = cast("dict[str, Any]", error)
        return str(inner.get("message") or ""), str(inner.get("code") or inner.get("type") or "")
    return str(error or outer.get("message") or ""), str(outer.get("code") or "")
