"""A conversation in OpenAI's messages, told as Anthropic's: system blocks, and turns of user and assistant.

Tool results are blocks of the user's turn, the parallel ones of one turn side by side. Anthropic refuses texts that are
empty or all blank (models write them before a tool call), a conversation that begins with the assistant, and blanks at the
end of a prefilled answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from workers.providers.parts import arguments_of, file_of, inline, parts_of, text_of, tool_calls_of, url_of
from workers.providers.refusals import Unservable
from workers.providers.signatures import plain

FORMAT = "anthropic-claude-v1"
"""Marks the reasoning that Anthropic signed, in an answer's and a message's `reasoning_details`."""

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_OPENING = "(The conversation begins with the assistant.)"

Block = dict[str, Any]


class Conversation(msgspec.Struct):
    """`system` blocks and `messages`."""

    system: list[Block]
    messages: list[dict[str, Any]]

    @property
    def prefilled(self) -> bool:
        """The last turn is the assistant's: the answer goes on from there."""
        return self.messages[-1]["role"] == "assistant"

    def may_think(self) -> bool:
        """Thinking needs a free beginning, and the earlier thoughts of a turn that tools have interrupted."""
        if self.prefilled:
            return False
        blocks = self.messages[-1]["content"]
        if not any(block["type"] == "tool_result" for block in blocks):
            return True
        before: list[Block] = self.messages[-2]["content"] if len(self.messages) > 1 else []
        return bool(before) and before[0]["type"] in ("thinking", "redacted_thinking")

    def without_thoughts(self) -> list[dict[str, Any]]:
        """The messages for a call that does not think."""
        kept: list[dict[str, Any]] = []
        for message in self.messages:
            blocks = [block for block in message["content"] if block["type"] not in ("thinking", "redacted_thinking")]
            if blocks:
                kept.append({"role": message["role"], "content": blocks})
        return kept


def conversation(messages: Iterable[Mapping[str, Any]]) -> Conversation:
    """Raises `Unservable` for contents that Anthropic cannot take."""
    found = Conversation([], [])
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer"):
            found.system += _blocks(message)
        elif role == "assistant":
            _add(found.messages, "assistant", _assistant(message))
        elif role in ("tool", "function"):
            _add(found.messages, "user", [_tool_result(message)])
        else:
            _add(found.messages, "user", _blocks(message))
    if not found.messages:
        found.system, blocks = [], found.system
        _add(found.messages, "user", blocks)
    if not found.messages:
        raise Unservable("messages must hold some content", "messages")
    if found.messages[0]["role"] == "assistant":
        found.messages.insert(0, {"role": "user", "content": [{"type": "text", "text": _OPENING}]})
    _trim(found.messages)
    return found


def _add(messages: list[dict[str, Any]], role: str, blocks: list[Block]) -> None:
    """Turns alternate: what the same side says next belongs to its turn."""
    if not blocks:
        return
    if messages and messages[-1]["role"] == role:
        messages[-1]["content"] += blocks
    else:
        messages.append({"role": role, "content": blocks})


def _trim(messages: list[dict[str, Any]]) -> None:
    last = messages[-1]
    if last["role"] != "assistant" or last["content"][-1]["type"] != "text":
        return
    text = last["content"][-1]["text"].rstrip()
    if text:
        last["content"][-1]["text"] = text
    else:
        last["content"].pop()
        if not last["content"]:
            messages.pop()


def _blocks(message: Mapping[str, Any]) -> list[Block]:
    blocks = _said(message.get("content"))
    if blocks and (cache := message.get("cache_control")):
        blocks[-1].setdefault("cache_control", cache)
    return blocks


def _said(content: object) -> list[Block]:
    blocks = [_block(part) for part in parts_of(content)]
    return [block for block in blocks if block["type"] != "text" or block["text"].strip()]


def _block(part: Mapping[str, Any]) -> Block:
    kind = part.get("type")
    block: Block
    if kind == "text":
        block = {"type": "text", "text": part["text"]}
    elif kind == "refusal":
        block = {"type": "text", "text": str(part.get("refusal") or "")}
    elif kind == "image_url":
        block = {"type": "image", "source": _image(url_of(part))}
    elif kind == "file":
        block = _document(part)
    else:
        raise Unservable(f"this model cannot read a content part of type {kind}", "messages")
    if cache := part.get("cache_control"):
        block["cache_control"] = cache
    return block


def _image(url: str) -> dict[str, str]:
    data = inline(url)
    if data is None:
        return {"type": "url", "url": url}
    if data.media_type not in IMAGE_TYPES:
        raise Unservable(f"this model reads JPEG, PNG, GIF and WebP images, not {data.media_type}", "messages")
    return {"type": "base64", "media_type": data.media_type, "data": data.data}


def _document(part: Mapping[str, Any]) -> Block:
    file = file_of(part)
    if file.media_type != "application/pdf":
        raise Unservable(f"this model reads PDF files, not {file.media_type}", "messages")
    return {"type": "document", "source": {"type": "base64", "media_type": file.media_type, "data": file.data}}


def _tool_result(message: Mapping[str, Any]) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": plain(str(message.get("tool_call_id") or ""))}
    content = _said(message.get("content"))
    caches = [cache for inner in content if (cache := inner.pop("cache_control", None))]
    if content:
        block["content"] = content
    if cache := message.get("cache_control") or (caches[-1] if caches else None):
        block["cache_control"] = cache
    return block


def _assistant(message: Mapping[str, Any]) -> list[Block]:
    blocks = [*_thoughts(message.get("reasoning_details")), *_blocks(message)]
    if not message.get("content") and isinstance(refusal := message.get("refusal"), str) and refusal:
        blocks.append({"type": "text", "text": text_of(refusal)})
    for call in tool_calls_of(message):
        name, arguments = arguments_of(call)
        blocks.append({"type": "tool_use", "id": plain(str(call.get("id") or "")), "name": name, "input": arguments})
    return blocks


def _thoughts(details: object) -> list[Block]:
    """The thinking that an earlier answer gave out, with its signature; what others thought is not for Anthropic."""
    blocks: list[Block] = []
    for detail in cast("list[object]", details) if isinstance(details, list) else ():
        fields = cast("dict[str, Any]", detail) if isinstance(detail, dict) else {}
        if fields.get("format") != FORMAT:
            continue
        if fields.get("type") == "reasoning.encrypted" and fields.get("data"):
            blocks.append({"type": "redacted_thinking", "data": fields["data"]})
        elif fields.get("signature"):
            thinking = str(fields.get("text") or "")
            blocks.append({"type": "thinking", "thinking": thinking, "signature": fields["signature"]})
    return blocks
