"""Writes what the client receives, in OpenAI's shapes: chunks of a stream, or one whole answer.

`id`, `created` and `model` never change within an answer, whichever provider it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.catalogue.model import AUTO
from gateway.wire.event import Attempt, Tokens
from gateway.wire.job import Job
from workers.metering import Bill
from workers.providers.base import Delta, Warned

FLEX: Mapping[str, Any] = {"service_tier": "flex"}
"""What the answer to a call in the background says, whatever the provider calls its own tier."""
DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.Encoder().encode


def usage_object(tokens: Tokens, bill: Bill) -> dict[str, Any]:
    """OpenAI's `usage` with what it costs: exact won and USD as text."""
    return {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": tokens.prompt + tokens.completion,
        "prompt_tokens_details": {
            "cached_tokens": tokens.cached,
            "cache_write_tokens": tokens.cache_write_5m + tokens.cache_write_1h,
        },
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning, "image_tokens": tokens.image},
        "cost_krw": bill.won,
        "cost_usd": bill.usd,
    }


def shown_model(job: Job, served: str) -> str:
    """The `model` of the answer: as asked where that model served it, else the one that really did."""
    return job.asked if served == job.models[0] and job.asked != AUTO else served


def attempts_header(attempts: Sequence[Attempt]) -> str:
    """Every attempt in one line: model, what became of it, after how many milliseconds, what of the charge in won falls
    on it, and whether it is billed."""
    return ", ".join(
        f"{a.model};provider={a.provider};reason={a.reason};ms={max(0, (a.ended_ms or a.started_ms) - a.started_ms)}"
        f";krw={a.won}" + (";billed" if a.billed else "")
        for a in attempts
    )


def _attempt_notes(attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    return [
        {
            "model": a.model,
            "provider": a.provider,
            "reason": a.reason,
            "ms": max(0, (a.ended_ms or a.started_ms) - a.started_ms),
            "cost_krw": a.won,
            "billed": a.billed,
        }
        for a in attempts
    ]


def _notes(warnings: Sequence[Warned], attempts: Sequence[Attempt] = ()) -> dict[str, Any]:
    notes: dict[str, Any] = {}
    if warnings:
        notes["warnings"] = [{"code": w.code, "message": w.message} for w in warnings]
    if len(attempts) > 1:
        notes["attempts"] = _attempt_notes(attempts)
    return notes


class StreamWriter:
    """The chunks of one stream. Finish reasons wait for the tail, where warnings still find a place."""

    def __init__(self, public_id: str, created: int, model: str, include_usage: bool) -> None:
        self._head = {"id": public_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._include_usage = include_usage
        self._opened: set[int] = set()
        self._finish: dict[int, str] = {}
        self._frame()

    def extra(self, fields: Mapping[str, Any]) -> None:
        """Top-level fields that every later chunk carries."""
        self._head = {**self._head, **fields}
        self._frame()

    def _frame(self) -> None:
        self._before = b"data: " + _encode(self._head)[:-1] + b',"choices":['
        self._after = b'],"usage":null}\n\n' if self._include_usage else b"]}\n\n"

    def delta(self, event: Delta) -> bytes:
        """The chunk for one delta: the first of a choice carries the role, a finish reason is kept for the tail."""
        if event.finish_reason is not None:
            self._finish[event.index] = event.finish_reason
        delta, before = event.delta, b""
        if event.index not in self._opened:
            self._opened.add(event.index)
            delta = dict(delta)
            opening: dict[str, Any] = {"role": delta.pop("role", "assistant"), "content": ""}
            if not any(delta.get(key) for key in delta):
                return self._chunk(event.index, {**opening, **delta}, event.logprobs)
            before = self._chunk(event.index, opening, None)
        if not delta or (
            not event.content and event.logprobs is None and all(value in ("", None) for value in delta.values())
        ):
            return before
        return before + self._chunk(event.index, delta, event.logprobs)

    def _chunk(self, index: int, delta: Mapping[str, Any], logprobs: object, finish: str | None = None) -> bytes:
        choice: dict[str, Any] = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._before + _encode(choice) + self._after

    def tail(
        self,
        usage: dict[str, Any],
        warnings: Sequence[Warned],
        attempts: Sequence[Attempt] = (),
        finish: str | None = None,
    ) -> bytes:
        """The stream's end: a finish chunk per choice (`finish` overrides all), usage where asked, `[DONE]`."""
        if notes := _notes(warnings, attempts):
            self.extra({"wonrouter": notes})
        chunks = [self._chunk(i, {}, None, finish or self._finish.get(i, "stop")) for i in sorted(self._opened or {0})]
        if self._include_usage:
            chunks.append(b"data: " + _encode({**self._head, "choices": [], "usage": usage}) + b"\n\n")
        return b"".join((*chunks, DONE))

    def finish_reason(self) -> str | None:
        """The first choice's finish reason as the provider gave it."""
        return self._finish.get(0)

    def complete(self) -> bool:
        """Every choice that began has ended."""
        return bool(self._opened) and self._opened <= self._finish.keys()


def whole(
    fields: Mapping[str, Any],
    public_id: str,
    created: int,
    model: str,
    usage: dict[str, Any],
    warnings: Sequence[Warned] = (),
) -> bytes:
    """A whole answer: the provider's fields with our id, time, model and usage in their places."""
    answer: dict[str, Any] = {"id": public_id, "object": "chat.completion", "created": created, "model": model}
    for name, value in fields.items():
        if name not in answer and name != "usage":
            answer[name] = value
    answer["usage"] = usage
    if warnings:
        answer["wonrouter"] = _notes(warnings)
    return _encode(answer)


class Collector:
    """Deltas to whole choices, for upstreams that must be streamed though the client wants one answer."""

    def __init__(self) -> None:
        self._choices: dict[int, dict[str, Any]] = {}

    def delta(self, event: Delta) -> None:
        """Adds one delta."""
        empty: dict[str, Any] = {
            "index": event.index,
            "message": {"role": "assistant", "content": None},
            "logprobs": None,
            "finish_reason": None,
        }
        choice = self._choices.setdefault(event.index, empty)
        _merge(choice["message"], event.delta)
        if event.logprobs:
            _extend_logprobs(choice, event.logprobs)
        if event.finish_reason is not None:
            choice["finish_reason"] = event.finish_reason

    def fields(self) -> dict[str, Any]:
        """`choices` of the whole answer."""
        for choice in self._choices.values():
            if "tool_calls" in choice["message"]:
                calls: dict[int, Any] = choice["message"]["tool_calls"]
                choice["message"]["tool_calls"] = list(calls.values())
        return {"choices": [self._choices[i] for i in sorted(self._choices)]}


def _merge(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    for key, value in delta.items():
        if key == "role" or value is None:
            continue
        if key == "tool_calls":
            for call in value:
                _merge_call(message.setdefault("tool_calls", {}), call)
        elif isinstance(value, str) and isinstance(message.get(key) or "", str):
            message[key] = (message.get(key) or "") + value
        elif isinstance(value, list):
            message[key] = [*(message.get(key) or ()), *value]
        else:
            message[key] = value


def _merge_call(calls: dict[int, dict[str, Any]], call: Mapping[str, Any]) -> None:
    """Some providers leave the index out and send whole calls: each is then one of its own."""
    index = call.get("index", len(calls))
    known = calls.setdefault(index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    known["id"] = call.get("id") or known["id"]
    function: dict[str, Any] = call.get("function") or {}
    known["function"]["name"] = function.get("name") or known["function"]["name"]
    known["function"]["arguments"] += function.get("arguments") or ""


def _extend_logprobs(choice: dict[str, Any], logprobs: Mapping[str, Any]) -> None:
    kept: dict[str, Any] = choice["logprobs"] or {}
    choice["logprobs"] = kept
    for key, value in logprobs.items():
        if isinstance(value, list):
            kept[key] = [*(kept.get(key) or ()), *value]
