"""Anthropic's answers, streamed or whole, as OpenAI's deltas."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.catalogue.model import Quantities
from gateway.wire.event import Tokens
from workers.providers.anthropic_errors import in_stream
from workers.providers.anthropic_messages import FORMAT
from workers.providers.base import Delta, Event, UpstreamId, Usage
from workers.providers.bodies import Translation, Unreadable

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""A reason that is not listed becomes `length`: an answer that may be unfinished is never told as complete."""

_encode = msgspec.json.Encoder().encode


class _Message(msgspec.Struct):
    id: str = ""
    content: list[dict[str, Any]] | None = None
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: dict[str, Any] | None = None
    delta: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None


class _Whole(_Message):
    type: str = ""


class _Block(msgspec.Struct):
    """A content block under way. `number` counts tool calls; `text` collects thinking, for its signature."""

    kind: str
    number: int = -1
    argued: bool = False
    text: str = ""
    signature: str = ""


_event = msgspec.json.Decoder(_Event).decode
_whole = msgspec.json.Decoder(_Whole).decode


class Answer(Translation):
    """One answer. `json_tool` names the tool whose arguments are the answer itself, where a schema was asked for."""

    def __init__(self, json_tool: str = "") -> None:
        self._json_tool = json_tool
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._usage: dict[str, Any] = {}

    def event(self, data: bytes, events: list[Event]) -> None:
        """One event of the stream; pings and kinds that are not known say nothing."""
        try:
            event = _event(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as broken:
            raise Unreadable("an event could not be read") from broken
        if event.type == "content_block_delta":
            self._delta(event.index, event.delta or {}, events)
        elif event.type == "content_block_start":
            self._open(event.index, event.content_block or {}, events)
        elif event.type == "content_block_stop":
            self._stop(event.index, events)
        elif event.type == "message_start":
            self._begin(event.message or _Message(), events)
        elif event.type == "message_delta":
            self._finish((event.delta or {}).get("stop_reason"), event.usage, events)
        elif event.type == "message_stop":
            self.close(events)
        elif event.type == "error":
            self.fail(in_stream(data), events)

    def whole(self, data: bytes, events: list[Event]) -> None:
        """A whole message: the same steps as its stream."""
        try:
            message = _whole(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as broken:
            raise Unreadable("the answer is not JSON") from broken
        if message.type == "error":
            self.fail(in_stream(data), events)
            return
        if message.content is None:
            raise Unreadable("the answer has no content")
        self._begin(message, events)
        for index, block in enumerate(message.content):
            self._open(index, block, events)
            self._stop(index, events)
        self._finish(message.stop_reason, message.usage, events)

    def _begin(self, message: _Message, events: list[Event]) -> None:
        if message.id:
            events.append(UpstreamId(message.id))
        self._count(message.usage)
        events.append(Delta(0, {"role": "assistant", "content": ""}))

    def _open(self, index: int, content: dict[str, Any], events: list[Event]) -> None:
        block = self._blocks[index] = _Block(str(content.get("type")))
        if block.kind == "text":
            self._text(str(content.get("text") or ""), events)
        elif block.kind == "thinking":
            block.signature = str(content.get("signature") or "")
            self._think(block, str(content.get("thinking") or ""), events)
        elif block.kind == "redacted_thinking":
            block.text = str(content.get("data") or "")
        elif block.kind == "tool_use":
            self._open_tool(block, content, events)

    def _open_tool(self, block: _Block, content: dict[str, Any], events: list[Event]) -> None:
        name = str(content.get("name") or "")
        if name == self._json_tool:
            block.kind = "json"
        else:
            block.number, self._calls = self._calls, self._calls + 1
            function = {"name": name, "arguments": ""}
            call = {"index": block.number, "id": content.get("id"), "type": "function", "function": function}
            events.append(Delta(0, {"tool_calls": [call]}, content=True))
        if content.get("input"):
            self._argue(block, _encode(content["input"]).decode(), events)

    def _delta(self, index: int, delta: dict[str, Any], events: list[Event]) -> None:
        block = self._blocks.get(index)
        kind = delta.get("type")
        if kind == "text_delta":
            self._text(str(delta.get("text") or ""), events)
        elif block is None:
            return
        elif kind == "input_json_delta":
            self._argue(block, str(delta.get("partial_json") or ""), events)
        elif kind == "thinking_delta":
            self._think(block, str(delta.get("thinking") or ""), events)
        elif kind == "signature_delta":
            block.signature += str(delta.get("signature") or "")

    def _text(self, text: str, events: list[Event]) -> None:
        if text:
            events.append(Delta(0, {"content": text}, content=True))

    def _think(self, block: _Block, text: str, events: list[Event]) -> None:
        if text:
            block.text += text
            events.append(Delta(0, {"reasoning_content": text}, content=True))

    def _argue(self, block: _Block, text: str, events: list[Event]) -> None:
        if not text:
            return
        block.argued = True
        if block.kind == "json":
            self._text(text, events)
        elif block.kind == "tool_use":
            call = {"index": block.number, "function": {"arguments": text}}
            events.append(Delta(0, {"tool_calls": [call]}, content=True))

    def _stop(self, index: int, events: list[Event]) -> None:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        if block.kind in ("tool_use", "json") and not block.argued:
            self._argue(block, "{}", events)
        detail: dict[str, Any] = {"format": FORMAT, "index": index}
        if block.kind == "thinking" and block.signature:
            detail = {"type": "reasoning.text", "text": block.text, "signature": block.signature, **detail}
            events.append(Delta(0, {"reasoning_details": [detail]}))
        elif block.kind == "redacted_thinking" and block.text:
            events.append(
                Delta(0, {"reasoning_details": [{"type": "reasoning.encrypted", "data": block.text, **detail}]})
            )

    def _finish(self, reason: object, usage: dict[str, Any] | None, events: list[Event]) -> None:
        self._count(usage)
        if usage and "output_tokens" in usage:
            events.append(Usage(tokens_of(self._usage)))
        if not isinstance(reason, str) or self.finished:
            return
        self.finished = True
        finish = FINISH.get(reason, "length")
        if finish == "tool_calls" and not self._calls:
            finish = "stop"
        events.append(Delta(0, {}, finish))

    def _count(self, usage: dict[str, Any] | None) -> None:
        """Counts are cumulative: a later one replaces an earlier, and what is not said stays."""
        for name, value in (usage or {}).items():
            if value is not None:
                self._usage[name] = value


def tokens_of(usage: dict[str, Any]) -> Tokens:
    """Anthropic's counts in ours. Its input leaves cached tokens out; thinking is inside its output."""
    read, written = _int(usage, "cache_read_input_tokens"), _int(usage, "cache_creation_input_tokens")
    lives = usage.get("cache_creation")
    hour = min(_int(lives, "ephemeral_1h_input_tokens"), written) if isinstance(lives, dict) else 0
    details, servers = usage.get("output_tokens_details"), usage.get("server_tool_use")
    q = Quantities.clamped(
        _int(usage, "input_tokens") + read + written,
        _int(usage, "output_tokens"),
        cached=read,
        cache_write_5m=written - hour,
        cache_write_1h=hour,
        reasoning=_int(details, "thinking_tokens") if isinstance(details, dict) else 0,
        search=_int(servers, "web_search_requests") if isinstance(servers, dict) else 0,
    )
    return Tokens(**msgspec.structs.asdict(q))


def _int(usage: Any, name: str) -> int:
    value = usage.get(name)
    return value if type(value) is int and value >= 0 else 0
