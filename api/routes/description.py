"""OpenAPI of what programs call: the chat surface on both base paths. Served at ``/api/v1/openapi.json``."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from api.routes.models import as_json

JSON = "application/json"
_TEXT: dict[str, Any] = {"type": "string"}
_WHOLE: dict[str, Any] = {"type": "integer"}


def _number(low: float, high: float, said: str) -> dict[str, Any]:
    return {"type": "number", "minimum": low, "maximum": high, "description": said}


CHAT: dict[str, Any] = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": _TEXT | {"description": "An id of the list of models, or an alias."},
        "messages": {
            "type": "array",
            "items": {"type": "object"},
            "description": "Roles system, developer, user, assistant, tool.",
        },
        "temperature": _number(0, 2, "Default 1."),
        "max_tokens": _WHOLE | {"description": "Output tokens, up to the model's maximum."},
        "top_p": _number(0, 1, "Default 1."),
        "frequency_penalty": _number(-2, 2, "Default 0."),
        "presence_penalty": _number(-2, 2, "Default 0."),
        "stream": {"type": "boolean", "description": "Server-sent events instead of one answer."},
        "stream_options": {"type": "object", "description": "include_usage: one last chunk with tokens and cost."},
        "user": _TEXT | {"description": "Your end user; kept and passed on as a keyed hash only."},
        "top_k": _WHOLE | {"minimum": 1, "maximum": 100, "description": "Ignored by models that have none."},
        "repetition_penalty": _number(0.1, 2, "Ignored by models that have none."),
        "min_p": _number(0, 1, "Ignored by models that have none."),
        "verbosity": _TEXT | {"enum": ["low", "medium", "high"]},
        "reasoning_effort": _TEXT | {"enum": ["minimal", "low", "medium", "high"]},
        "tools": {"type": "array", "items": {"type": "object"}},
        "tool_choice": {"description": "auto, none, required, or a function."},
        "response_format": {"type": "object", "description": "text, json_object or json_schema."},
        "modalities": {"type": "array", "items": _TEXT, "description": "image, for models that make images."},
        "models": {"type": "array", "items": _TEXT, "description": "Models that stand in, in order; up to five."},
        "provider": {"type": "object", "description": "order, only, ignore, allow_fallbacks, max_price."},
    },
}
COMPLETION: dict[str, Any] = {
    "type": "object",
    "required": ["model", "prompt"],
    "properties": {
        "model": _TEXT,
        "prompt": {"description": "A text, or a list of texts."},
        "max_tokens": _WHOLE,
        "temperature": _number(0, 2, "Default 1."),
        "stream": {"type": "boolean"},
        "echo": {"type": "boolean", "description": "Begins with the prompt."},
        "n": _WHOLE,
    },
}
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "type"],
            "additionalProperties": False,
            "properties": {
                "code": _TEXT,
                "message": _TEXT,
                "type": _TEXT,
                "param": _TEXT,
                "details": {"type": "object"},
            },
        }
    },
}
_FAILED: dict[str, Any] = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
_OBJECT: dict[str, Any] = {JSON: {"schema": {"type": "object"}}}
_STREAM: dict[str, Any] = {"text/event-stream": {"schema": _TEXT}}


def _refusal(said: str) -> dict[str, Any]:
    return {"description": said, "content": _FAILED}


READ: dict[str, Any] = {
    "200": {"description": "The answer.", "content": _OBJECT},
    "400": _refusal("invalid_request: `param` names the field."),
    "401": _refusal("invalid_api_key."),
    "403": _refusal("permission_denied."),
    "503": _refusal("service_unavailable; `Retry-After` says when to come back."),
}
"""What any operation may answer."""
CALL: dict[str, Any] = READ | {
    "200": {"description": "The answer, or its events.", "content": _OBJECT | _STREAM},
    "400": _refusal(
        "invalid_request or forbidden_content; `param` names the field. A provider's own error keeps its status and body."
    ),
    "404": _refusal("model_not_found; `details.suggestions` names others."),
    "409": _refusal(
        "conflict: the first call with this Idempotency-Key still runs, or was charged and cannot be given again."
    ),
    "413": _refusal("request_too_large."),
    "422": _refusal("idempotency_mismatch."),
    "429": _refusal("rate_limit_exceeded; `Retry-After` says when to come back."),
    "500": _refusal("internal_error."),
    "502": _refusal("provider_unavailable."),
}
"""What a call of a model may."""
HEADERS: list[dict[str, Any]] = [
    {
        "name": "X-Title",
        "in": "header",
        "schema": _TEXT,
        "description": "Your application's name, kept with the usage.",
    },
    {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": _TEXT | {"minLength": 1, "maxLength": 255},
        "description": "The same key and body within a day get the same answer, and are charged once.",
    },
]


def document() -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, Any] = {}
    missing = {"404": CALL["404"]}
    unknown = {"404": _refusal("not_found: no such call of yours, or it is not settled yet.")}
    for base, spent in (("/api/v1", "403"), ("/v1", "402")):
        too = " or permission_denied" if spent == "403" else ""
        call = CALL | {spent: _refusal(f"credit_limit_exceeded{too}.")}
        paths[f"{base}/chat/completions"] = {"post": _operation("Chat completion", call, CHAT)}
        paths[f"{base}/completions"] = {"post": _operation("Legacy completion", call, COMPLETION)}
        paths[f"{base}/models"] = {"get": _operation("List models with their prices", READ)}
        paths[f"{base}/models/{{model}}"] = {"get": _operation("One model", READ | missing, place=("path", "model"))}
        paths[f"{base}/generation"] = {"get": _operation("Receipt of a call", READ | unknown, place=("query", "id"))}
        paths[f"{base}/credits"] = {"get": _operation("Credit of the organization", READ)}
        paths[f"{base}/key"] = {"get": _operation("The key that asks, with its limits", READ)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "WonRouter API", "version": "1", "description": "OpenAI's chat completions, billed in won."},
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR},
            "securitySchemes": {
                "key": {"type": "apiKey", "name": "X-API-Key", "in": "header"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def description_route() -> HTTPRouteHandler:
    """The handler."""
    body = msgspec.json.encode(document())

    @get("/api/v1/openapi.json")
    async def show_description() -> Response[bytes]:
        return as_json(body)

    return show_description


def _operation(
    summary: str, answers: dict[str, Any], body: dict[str, Any] | None = None, place: tuple[str, str] | None = None
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "summary": summary,
        "tags": ["chat" if body else "account" if place != ("path", "model") and "models" not in summary else "models"],
        "security": [{"key": []}, {"bearer": []}],
        "responses": answers,
    }
    if body is not None:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
        made["parameters"] = HEADERS
    if place is not None:
        where, name = place
        made["parameters"] = [{"name": name, "in": where, "required": True, "schema": _TEXT}]
    return made
