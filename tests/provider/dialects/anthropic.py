"""Anthropic's Messages dialect: `POST …/messages`, streamed and not.

Usage follows the same two rules as the OpenAI dialect (openai.py): the prompt is 3, and for each message 4, and one for
every 4 bytes begun of its text (system blocks are a message each), 85 for each image and 16 for each tool; the
completion is the number of pieces: thinking, text, fragments of tool arguments. `cached`, `cache_write` and
`cache_write_1h` are taken out of the prompt, as Anthropic counts them beside its input.
"""

import base64
import itertools
import json
import os
import time
from collections.abc import Callable
from typing import Any

import msgspec

from tests.provider.behaviour import DEFAULT, Behaviour
from tests.provider.dialects.openai import answer_text, token_text
from tests.provider.plan import Choose, Plan, Request

SIGNATURE = base64.b64encode(b"signed by the mock").decode()
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_REFUSALS = {
    "context": (400, "prompt is too long: 250000 tokens > 200000 maximum"),
    "policy": (400, "Output blocked by content filtering policy"),
    "key": (401, "invalid x-api-key"),
    "balance": (400, "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."),
    "overloaded": (529, "Overloaded"),
}


class Anthropic:
    """`POST …/messages`."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._prefix = f"msg_mock{os.getpid():x}{time.time_ns() & 0xFFFFFFFF:08x}n"

    def matches(self, request: Request) -> bool:
        return request.path.partition("?")[0].endswith("/messages")

    def plan(self, request: Request, choose: Choose) -> Plan:
        response_id = f"{self._prefix}{next(self._numbers)}"
        if not (request.headers.get("x-api-key") or request.headers.get("authorization")):  # the newest SDK's way
            return _error(response_id, DEFAULT, 401, "x-api-key header is required")
        try:
            body: dict[str, Any] = msgspec.json.decode(request.body)
            model, messages = body["model"], body["messages"]
            if not messages or not isinstance(body["max_tokens"], int):
                raise ValueError("messages: at least one message is required")
            behaviour = choose(model, _text(messages[-1]["content"]), request.headers.get("x-mock", ""))
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            return _error(response_id, DEFAULT, 400, f"{error}: field required")
        if behaviour.refuse:
            status, message = _REFUSALS[behaviour.refuse]
            return _error(response_id, behaviour, status, message, model)
        if behaviour.error:
            return _error(response_id, behaviour, behaviour.error, f"mock error {behaviour.error}", model)
        if behaviour.garbage:
            return Plan(response_id, behaviour, model, body=b"<html>not what you asked for</html>")
        return _Answer(response_id, behaviour, body).plan()


def prompt_tokens(body: dict[str, Any]) -> int:
    """The prompt's size by the rule above."""
    total = 3 + 16 * len(body.get("tools") or ())
    system = body.get("system") or []
    for block in [{"type": "text", "text": system}] if isinstance(system, str) else system:
        total += 4 + _bytes(block["text"])
    for message in body["messages"]:
        total += 4 + _content_tokens(message["content"])
    return total


def _content_tokens(content: Any) -> int:
    if isinstance(content, str):
        return _bytes(content)
    total = 0
    for block in content or ():
        if block["type"] == "image":
            total += 85
        elif block["type"] == "tool_result":
            total += _content_tokens(block.get("content"))
        elif block["type"] == "tool_use":
            total += _bytes(json.dumps(block["input"], ensure_ascii=False))
        else:
            total += _bytes(block.get("text") or "")
    return total


def _bytes(text: str) -> int:
    return (len(text.encode()) + 3) // 4


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(block.get("text") or _text(block.get("content") or "") for block in content)


def _event(name: str, **fields: Any) -> bytes:
    data = json.dumps({"type": name, **fields}, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {data}\n\n".encode()


class _Answer:
    def __init__(self, response_id: str, behaviour: Behaviour, body: dict[str, Any]) -> None:
        self.id, self.behaviour, self.body = response_id, behaviour, body
        tool = self._tool()
        echo = _text(body["messages"][-1]["content"])
        arguments = "" if behaviour.noargs else json.dumps({"echo": echo}, ensure_ascii=False)
        fragments = [arguments[i : i + 8] for i in range(0, len(arguments), 8)]
        wanted: list[tuple[int, dict[str, Any]]] = []
        self.blocks: list[dict[str, Any]] = []
        if behaviour.think:
            self._add({"type": "thinking", "thinking": "", "signature": ""})
            wanted += [(0, {"type": "thinking_delta", "thinking": f"t{i} "}) for i in range(behaviour.think)]
        if tool:
            for number in range(behaviour.calls):
                name = f"toolu_{response_id[4:]}_{number}"
                at = self._add({"type": "tool_use", "id": name, "name": tool, "input": {}})
                wanted += [(at, {"type": "input_json_delta", "partial_json": piece}) for piece in fragments]
        else:
            at = self._add({"type": "text", "text": ""})
            last = body["messages"][-1]
            start = (len(_text(last["content"])) + 3) // 4 if last["role"] == "assistant" else 0
            texts = (
                fragments if behaviour.echo else [token_text(i, behaviour.pad) for i in range(start, behaviour.tokens)]
            )
            wanted += [(at, {"type": "text_delta", "text": text}) for text in texts]
        self.pieces = wanted[: body["max_tokens"]]
        natural = "max_tokens" if len(self.pieces) < len(wanted) else "tool_use" if tool else "end_turn"
        self.reason = behaviour.finish or natural
        self.arguments = {"echo": echo} if arguments else {}
        self.prompt = prompt_tokens(body)

    def _add(self, block: dict[str, Any]) -> int:
        self.blocks.append(block)
        return len(self.blocks) - 1

    def _tool(self) -> str:
        tools = self.body.get("tools") or []
        choice = self.body.get("tool_choice") or {}
        if self.behaviour.tool or not tools:
            return self.behaviour.tool
        if choice.get("type") == "any":
            return str(tools[0]["name"])
        return str(choice["name"]) if choice.get("type") == "tool" else ""

    def usage(self, output: int) -> dict[str, Any]:
        b = self.behaviour
        written = b.cache_write + b.cache_write_1h
        usage: dict[str, Any] = {
            "input_tokens": max(0, self.prompt - b.cached - written),
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": b.cached,
            "cache_creation": {
                "ephemeral_5m_input_tokens": b.cache_write,
                "ephemeral_1h_input_tokens": b.cache_write_1h,
            },
            "output_tokens": output,
            "service_tier": "standard",
        }
        return usage

    def final_usage(self) -> dict[str, Any]:
        usage: dict[str, Any] = {"output_tokens": len(self.pieces)}
        if self.behaviour.think:
            usage["output_tokens_details"] = {"thinking_tokens": min(self.behaviour.think, len(self.pieces))}
        if self.behaviour.searches:
            usage["server_tool_use"] = {"web_search_requests": self.behaviour.searches, "web_fetch_requests": 0}
        return usage

    def message(self, **fields: Any) -> dict[str, Any]:
        model = self.body["model"].partition("@")[0]
        return {"id": self.id, "type": "message", "role": "assistant", "model": model, **fields}

    def plan(self) -> Plan:
        plan = Plan(self.id, self.behaviour, self.body["model"], prompt_tokens=self.prompt, pieces=len(self.pieces))
        plan.ping = _event("ping")
        plan.unreadable = b'event: content_block_delta\ndata: {"type":"content_block_de\n\n'
        plan.error_event = _event("error", error={"type": "overloaded_error", "message": "Overloaded"})
        if not self.body.get("stream"):
            plan.body = json.dumps(self.whole(), ensure_ascii=False).encode()
            return plan
        plan.stream = True
        start = self.message(content=[], stop_reason=None, stop_sequence=None, usage=self.usage(1))
        plan.head = _event("message_start", message=start)
        plan.piece = self._piece()
        delta = {"stop_reason": self.reason, "stop_sequence": None}
        plan.tail = self._between(self._at(len(self.pieces) - 1), len(self.blocks)) + _event(
            "message_delta", delta=delta, usage=self.final_usage()
        )
        plan.last = _event("message_stop")
        return plan

    def _at(self, number: int) -> int:
        """The block that piece `number` belongs to; -1 before the first."""
        return self.pieces[number][0] if number >= 0 else -1

    def _between(self, before: int, now: int) -> bytes:
        """Closes block `before` and opens those up to `now`; empty blocks are opened and closed."""
        events = [self._close(before)] if before >= 0 else []
        for at in range(before + 1, min(now + 1, len(self.blocks))):
            events.append(_event("content_block_start", index=at, content_block=self.blocks[at]))
            if at == 0:
                events.append(_event("ping"))
            if at < now:
                events.append(self._close(at))
        return b"".join(events)

    def _close(self, at: int) -> bytes:
        signature = b""
        if self.blocks[at]["type"] == "thinking":
            delta = {"type": "signature_delta", "signature": SIGNATURE}
            signature = _event("content_block_delta", index=at, delta=delta)
        return signature + _event("content_block_stop", index=at)

    def _piece(self) -> Callable[[int], bytes]:
        def piece(number: int) -> bytes:
            at, delta = self.pieces[number]
            before = self._at(number - 1)
            opening = self._between(before, at) if at != before else b""
            return opening + _event("content_block_delta", index=at, delta=delta)

        return piece

    def whole(self) -> dict[str, Any]:
        content = [dict(block) for block in self.blocks]
        for block in content:
            if block["type"] == "tool_use":
                block["input"] = self.arguments
        for at, delta in self.pieces:
            if delta["type"] == "text_delta":
                content[at]["text"] += delta["text"]
            elif delta["type"] == "thinking_delta":
                content[at]["thinking"] += delta["thinking"]
                content[at]["signature"] = SIGNATURE
        usage = {**self.usage(0), **self.final_usage()}
        return self.message(content=content, stop_reason=self.reason, stop_sequence=None, usage=usage)


def _error(response_id: str, behaviour: Behaviour, status: int, message: str, model: str = "") -> Plan:
    error = {"type": _ERRORS.get(status, "api_error"), "message": message}
    body = {"type": "error", "error": error, "request_id": f"req_{response_id[4:]}"}
    retry = f"retry-after: {behaviour.retry_after:g}\r\n" if behaviour.retry_after else ""
    return Plan(response_id, behaviour, model, status, retry, body=msgspec.json.encode(body))


__all__ = ["SIGNATURE", "Anthropic", "answer_text", "prompt_tokens"]
