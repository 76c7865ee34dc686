"""Choices of OpenAI-compatible providers in OpenAI's own shape: reasoning, tool calls, finish reasons.

Reasoning comes as `reasoning_content` whatever the provider calls it. Tool calls have an index. A finish reason that
OpenAI does not know becomes the one that means it, or a failure where the provider gave up.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from workers.providers.base import FailureKind, ProviderFailure

FINISH: dict[str, str | None] = {
    "": None,
    "sensitive": "content_filter",
    "model_context_window_exceeded": "length",
    "max_tokens": "length",
    "end_turn": "stop",
    "eos": "stop",
    "tool_use": "tool_calls",
}
GAVE_UP: dict[str, FailureKind] = {
    "network_error": "server",
    "insufficient_system_resource": "overloaded",
    "error": "server",
    "abort": "server",
}
"""The provider stopped in the middle and says so in the place of a finish reason."""

_OPEN, _CLOSE = "<think>", "</think>"


def gave_up(reason: str) -> ProviderFailure:
    """The failure behind such a reason."""
    return ProviderFailure(kind=GAVE_UP[reason], message=f"the provider ended its answer with {reason}", status=200)


class ThinkTags:
    """Takes reasoning between tags out of a content that may be cut anywhere. Tags stand at its beginning only."""

    def __init__(self) -> None:
        self._held: str = ""
        self._state: str = "start"

    def feed(self, text: str) -> tuple[str, str]:
        """(reasoning, content) that `text` completes."""
        if self._state == "plain":
            return "", text
        text, self._held = self._held + text, ""
        if self._state == "start":
            stripped = text.lstrip()
            if stripped.startswith(_OPEN):
                self._state, text = "inside", stripped[len(_OPEN) :].lstrip("\n")
            elif _OPEN.startswith(stripped):
                self._held = text
                return "", ""
            else:
                self._state = "plain"
                return "", text
        if self._state == "inside":
            reasoning, closed, text = text.partition(_CLOSE)
            if not closed:
                keep = _overlap(reasoning)
                self._held = reasoning[len(reasoning) - keep :]
                return reasoning[: len(reasoning) - keep], ""
            self._state = "gap"
            return reasoning, self._content(text)
        return "", self._content(text)

    def _content(self, text: str) -> str:
        text = text.lstrip()
        if text:
            self._state = "plain"
        return text

    def end(self) -> tuple[str, str]:
        """What was held back because a tag might have followed."""
        held, self._held = self._held, ""
        return (held, "") if self._state == "inside" else ("", held)


def _overlap(text: str) -> int:
    """How many characters at the end of `text` may begin the closing tag."""
    return next((size for size in range(len(_CLOSE) - 1, 0, -1) if text.endswith(_CLOSE[:size])), 0)


class _Choice(msgspec.Struct):
    tags: ThinkTags | None
    calls: dict[str, int] = {}
    last: int = -1
    thought: str = ""
    whole: bool = False


class Choices:
    """The choices of one answer."""

    def __init__(self, reasoning_field: str) -> None:
        self._field = reasoning_field
        self._choices: dict[int, _Choice] = {}

    def delta(self, index: int, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
        """A delta in OpenAI's shape; with `finish`, also what was held back."""
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(ThinkTags() if self._field == "think_tags" else None)
        if "reasoning" in delta:
            thought = delta.pop("reasoning")
            if isinstance(thought, str) and not delta.get("reasoning_content"):
                delta["reasoning_content"] = thought
        if self._field == "reasoning_details" and "reasoning_details" in delta:
            self._details(choice, delta)
        if choice.tags is not None:
            _split(choice.tags, delta, finish is not None)
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            for call in cast("list[object]", calls):
                if isinstance(call, dict):
                    _number(choice, cast("dict[str, Any]", call))
        return delta

    def _details(self, choice: _Choice, delta: dict[str, Any]) -> None:
        """MiniMax documents each text as all so far and sends what is new; both are read."""
        details = cast("list[dict[str, Any]]", delta.pop("reasoning_details") or [])
        text = "".join(str(detail.get("text") or "") for detail in details)
        if choice.thought and len(text) > len(choice.thought) and text.startswith(choice.thought):
            choice.whole = True
        new = text[len(choice.thought) :] if choice.whole else text
        choice.thought += new
        if new and not delta.get("reasoning_content"):
            delta["reasoning_content"] = new

    def message(self, index: int, message: dict[str, Any]) -> dict[str, Any]:
        """A whole message in OpenAI's shape."""
        found = self.delta(index, message, "stop")
        for call in cast("list[dict[str, Any]]", found.get("tool_calls") or []):
            call.pop("index", None)
        return found


def _split(tags: ThinkTags, delta: dict[str, Any], ends: bool) -> None:
    text = delta.get("content")
    reasoning, content = tags.feed(text) if isinstance(text, str) else ("", "")
    if ends:
        more = tags.end()
        reasoning, content = reasoning + more[0], content + more[1]
    if isinstance(text, str) or content:
        delta["content"] = content
    if reasoning:
        delta["reasoning_content"] = reasoning


def _number(choice: _Choice, call: dict[str, Any]) -> None:
    """Gives a tool call its index where the provider left it out: a new id is a new call."""
    index = call.get("index")
    if type(index) is not int:
        given = call.get("id")
        if not given:
            index = max(choice.last, 0)
        else:
            index = choice.calls.setdefault(str(given), len(choice.calls))
        call["index"] = index
    choice.last = index
