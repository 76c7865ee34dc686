"""How many tokens, where no provider said so. Always in the customer's favour: never above what was really used.

A token of any common vocabulary is at most a few bytes long on average; one per four UTF-8 bytes is below what
tokenizers make of Korean or English text, and the framing of messages is not counted at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec

BYTES_PER_TOKEN = 4

_decode = msgspec.json.Decoder().decode


def of_text(text: str) -> int:
    """Tokens in a text."""
    return (len(text) if text.isascii() else len(text.encode())) // BYTES_PER_TOKEN


def of_messages(raw: bytes) -> int:
    """Input tokens of a request's `messages`, given as JSON: their text only, no images, no framing."""
    try:
        messages = _decode(raw)
    except msgspec.DecodeError:
        return 0
    if not isinstance(messages, list):
        return 0
    return sum(_bytes_of(message) for message in cast("list[Any]", messages)) // BYTES_PER_TOKEN


def of_choices(raw: bytes) -> int:
    """Output tokens of a whole answer's `choices`, given as JSON."""
    choices = cast("list[Any]", _decode(raw))
    messages = [cast("dict[str, Any]", choice).get("message") for choice in choices if isinstance(choice, dict)]
    return sum(_bytes_of(message) for message in messages) // BYTES_PER_TOKEN


def bytes_of_delta(delta: dict[str, Any]) -> int:
    """UTF-8 bytes of what a delta shows."""
    if len(delta) == 1 and "content" in delta:
        return _text_bytes(delta["content"])
    return _bytes_of(delta)


def _bytes_of(message: object) -> int:
    if not isinstance(message, dict):
        return 0
    fields = cast("dict[str, Any]", message)
    size = sum(_text_bytes(fields.get(name)) for name in ("content", "reasoning_content", "reasoning", "refusal"))
    for call in _items(fields.get("tool_calls")):
        function = call.get("function")
        if isinstance(function, dict):
            size += _text_bytes(cast("dict[str, Any]", function).get("arguments"))
    return size


def _text_bytes(content: object) -> int:
    if isinstance(content, str):
        return len(content) if content.isascii() else len(content.encode("utf-8", "surrogatepass"))
    return sum(_text_bytes(part.get("text")) for part in _items(content))


def _items(value: object) -> Iterable[dict[str, Any]]:
    if not isinstance(value, list):
        return ()
    return (cast("dict[str, Any]", item) for item in cast("list[Any]", value) if isinstance(item, dict))
