"""`sandbox/*`: answers without a network, the same every time, priced like any model. For trying out and for tests.

`echo` repeats the last message word by word; `slow` does so at a reader's pace; `error-429`, `error-500` and
`error-503` answer with that status; `error-timeout` accepts and never answers; `error-cut` breaks off in the middle.
It speaks OpenAI's dialect, so that a sandbox call runs through the same code as any other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, cast

import msgspec

from workers.providers.base import ProviderCall, Script, UpstreamRequest
from workers.providers.openai import OpenAI, body_of
from workers.providers.refusals import Unservable, refusal

SLOW_STEP_S = 0.1
"""Ten words a second: about as fast as one reads aloud three times over, slow enough to watch a stream."""

_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream"}
_ERRORS = {
    "error-429": (429, "The sandbox is out of quota, as asked.", "insufficient_quota"),
    "error-500": (500, "The sandbox failed, as asked.", "server_error"),
    "error-503": (503, "The sandbox is overloaded, as asked.", "overloaded_error"),
}


class Sandbox(OpenAI):
    """The adapter. Requests carry their answer with them as a script."""

    def request(self, call: ProviderCall) -> UpstreamRequest:
        """A request that goes nowhere: its script is the answer."""
        try:
            content = msgspec.json.encode(body_of(call))
        except Unservable as why:
            return refusal(why)
        kind = call.deployment.upstream_model
        return UpstreamRequest("POST", f"sandbox:{kind}", {}, content, _script(kind, json.loads(content), call.stream))


def _script(kind: str, body: dict[str, Any], stream: bool) -> Script:
    if kind in _ERRORS:
        status, message, code = _ERRORS[kind]
        error = {"error": {"message": message, "type": "sandbox_error", "param": None, "code": code}}
        return Script(status, {**_JSON, "retry-after-ms": "50"}, ((0.0, msgspec.json.encode(error)),))
    if kind == "error-timeout":
        return Script(200, _EVENTS if stream else _JSON, (), "silence")
    answer = _Answer(body)
    wait = SLOW_STEP_S if kind == "slow" else 0.0
    if not stream:
        whole = msgspec.json.encode(answer.whole())
        if kind == "error-cut":
            return Script(200, _JSON, ((0.0, whole[: len(whole) // 2]),), "cut")
        return Script(200, _JSON, ((wait * answer.longest, whole),))
    if kind == "error-cut":
        return Script(200, _EVENTS, _cut_in_half(answer), "cut")
    return Script(200, _EVENTS, ((wait, event) for event in answer.events()))


def _cut_in_half(answer: _Answer) -> Iterator[tuple[float, bytes]]:
    events = list(answer.events())
    keep = 1 + (len(events) - 3) // 2
    return ((0.0, event) for event in events[: max(keep, 2)])


class _Answer:
    """What the sandbox says to a request: the last message, one word a token."""

    def __init__(self, body: dict[str, Any]) -> None:
        words = _words_of(body.get("messages"))
        cap = body.get("max_completion_tokens", body.get("max_tokens"))
        limit = cap if type(cap) is int and cap >= 0 else len(words)
        n = body.get("n")
        self.n = n if type(n) is int and 0 < n <= 16 else 1
        self.tool = _tool_name(body)
        self.words = words[:limit]
        self.finish = "length" if limit < len(words) else ("tool_calls" if self.tool else "stop")
        self.model = str(body.get("model", ""))
        self.id = "chatcmpl-sandbox-" + hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:24]
        prompt = sum(_size(message) for message in body.get("messages") or ()) // 4 + 3
        completion = len(self.words) * self.n
        self.usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    @property
    def longest(self) -> int:
        return len(self.words)

    def whole(self) -> dict[str, Any]:
        text = "".join(self.words)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self.tool:
            message = {"role": "assistant", "content": None, "tool_calls": [self._call(0, json.dumps({"text": text}))]}
        choices = [{"index": i, "message": message, "finish_reason": self.finish} for i in range(self.n)]
        return {
            "id": self.id,
            "object": "chat.completion",
            "model": self.model,
            "choices": choices,
            "usage": self.usage,
        }

    def _call(self, index: int, arguments: str) -> dict[str, Any]:
        function = {"name": self.tool, "arguments": arguments}
        return {"index": index, "id": "call_sandbox", "type": "function", "function": function}

    def events(self) -> Iterator[bytes]:
        """The stream's events: a role per choice, the words in turn, the finish, usage, the end."""
        for choice in range(self.n):
            opening: dict[str, Any] = {"role": "assistant", "content": "" if not self.tool else None}
            if self.tool:
                opening["tool_calls"] = [self._call(0, "")]
            yield self._event([{"index": choice, "delta": opening, "finish_reason": None}])
        pieces = _argument_pieces(self.words) if self.tool else self.words
        for piece in pieces:
            for choice in range(self.n):
                delta = (
                    {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
                    if self.tool
                    else {"content": piece}
                )
                yield self._event([{"index": choice, "delta": delta, "finish_reason": None}])
        for choice in range(self.n):
            yield self._event([{"index": choice, "delta": {}, "finish_reason": self.finish}])
        yield self._event([], usage=self.usage)
        yield b"data: [DONE]\n\n"

    def _event(self, choices: list[dict[str, Any]], **more: object) -> bytes:
        chunk = {"id": self.id, "object": "chat.completion.chunk", "model": self.model, "choices": choices, **more}
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _argument_pieces(words: list[str]) -> list[str]:
    """`{"text": "…"}` in as many pieces as there are words."""
    quoted = [json.dumps(word, ensure_ascii=False)[1:-1] for word in words]
    if not quoted:
        return []
    quoted[0] = '{"text": "' + quoted[0]
    quoted[-1] += '"}'
    return quoted


def _words_of(messages: object) -> list[str]:
    """The last message's words; where that is the beginning of an answer, what its question still has."""
    known = cast("list[dict[str, Any]]", messages) if isinstance(messages, list) else []
    begun = 0
    if len(known) > 1 and known[-1].get("role") == "assistant":
        begun, known = len(_last_text(known).split()), known[:-1]
    return [word + " " for word in _last_text(known).split()[begun:]] or ["(nothing) "]


def _last_text(messages: object) -> str:
    if not isinstance(messages, list) or not messages:
        return ""
    content = cast("dict[str, Any]", messages[-1]).get("content")
    if isinstance(content, str):
        return content
    parts = cast("list[dict[str, Any]]", content) if isinstance(content, list) else []
    return " ".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")


def _size(message: dict[str, Any]) -> int:
    return len(_last_text([message]).encode())


def _tool_name(body: dict[str, Any]) -> str:
    """A tool is called where `tool_choice` demands one."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if not isinstance(tools, list) or not tools:
        return ""
    if isinstance(choice, dict):
        return str(cast("dict[str, Any]", choice).get("function", {}).get("name", ""))
    first = cast("list[dict[str, Any]]", tools)[0]
    return str(first.get("function", {}).get("name", "")) if choice == "required" else ""
