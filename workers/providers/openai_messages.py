"""The client's messages as an OpenAI-compatible provider takes them.

Most pass through unread. What our own answers carry beyond OpenAI's shape (reasoning, pictures, signatures) comes back
in a client's history, and goes on only to a provider that wants it.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from gateway.catalogue.model import Quirks
from workers.providers.base import ProviderCall
from workers.providers.parts import messages_of, tool_calls_of
from workers.providers.signatures import MARKER, plain

_OURS = (b'"reasoning', b'"images"', b'"extra_content"', b'"cache_control"', MARKER.encode())
_ANSWER_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "images", "extra_content", "cache_control")
_encode = msgspec.json.Encoder().encode


def messages_for(call: ProviderCall, instruction: str = "") -> msgspec.Raw | list[dict[str, Any]]:
    """The messages to send, with `instruction` added for the model where there is one."""
    raw, quirks = call.fields["messages"], call.model.quirks
    text = bytes(raw)
    strange = b'"system"' if quirks.system_role == "developer" else b'"developer"'
    renamed = strange in text or (quirks.system_role == "user" and b'"system"' in text)
    if not instruction and not renamed and not any(mark in text for mark in _OURS):
        return raw
    messages = [_message(message, quirks) for message in messages_of(call)]
    if instruction:
        first = messages[0] if messages and messages[0].get("role") == quirks.system_role else None
        if first is not None and isinstance(first.get("content"), str):
            first["content"] += "\n\n" + instruction
        else:
            messages.insert(0, {"role": quirks.system_role, "content": instruction})
    return messages


def in_words(response_format: dict[str, Any]) -> str:
    """A schema as an instruction, for providers that promise JSON but not a schema."""
    schema = cast("dict[str, Any]", response_format.get("json_schema") or {}).get("schema")
    return f"Answer with one JSON object that fits this JSON schema: {_encode(schema or {'type': 'object'}).decode()}"


def _message(message: dict[str, Any], quirks: Quirks) -> dict[str, Any]:
    if message.get("role") in ("system", "developer"):
        message["role"] = quirks.system_role
    thought = message.get("reasoning_content") or message.get("reasoning")
    for name in _ANSWER_FIELDS:
        message.pop(name, None)
    if quirks.return_reasoning and message.get("role") == "assistant" and isinstance(thought, str):
        if quirks.reasoning_field == "reasoning_details":
            message["reasoning_details"] = [{"type": "reasoning.text", "text": thought}]
        else:
            message["reasoning_content"] = thought
    for call in tool_calls_of(message):
        call.pop("extra_content", None)
        if MARKER in str(call.get("id")):
            call["id"] = plain(call["id"])
    if MARKER in str(message.get("tool_call_id") or ""):
        message["tool_call_id"] = plain(message["tool_call_id"])
    if isinstance(message.get("content"), list):
        for part in cast("list[object]", message["content"]):
            if isinstance(part, dict):
                cast("dict[str, Any]", part).pop("cache_control", None)
    return message
