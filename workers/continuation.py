"""Going on with an answer that broke off: what has been delivered, what the next model is asked, where its text joins.

Two ways. A model that takes a prefill gets the delivered text as the beginning of its own answer, and nothing of what
it writes is trimmed. Any other is asked to continue; where it begins by repeating, the repetition is cut away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from gateway.catalogue.model import Model
from workers.providers.base import Delta

LEAST_OVERLAP = 20
"""Characters. A shorter repetition is as likely to be what the text says."""
REPEAT_ROOM = 256
"""Output tokens beyond the rest of the limit, for a model that is asked to continue and may repeat first."""
GO_ON = (
    "Your answer above was interrupted while it was being sent. Continue it from exactly where it stops, in the middle "
    "of a word if need be. Write only what comes next: do not repeat anything, do not introduce or explain it."
)
MESSAGE_TOKENS = 4
"""What framing a message costs at least, in common vocabularies."""
MOST_PARTS = 64
"""Pieces of a delivered text that lie apart: each costs sixty bytes beside its letters."""
_SEAMS = frozenset({"tool_calls", "function_call", "images", "audio", "refusal"})
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Delivered:
    """The text of the answer so far, and whether another model can go on with it.

    Args:
        fields: the client's body.
    """

    def __init__(self, fields: Mapping[str, msgspec.Raw]) -> None:
        self._parts: list[str] = []
        n = bytes(fields.get("n", b"1"))
        self._single = n in (b"1", b"null")
        self._free = _is_free(fields.get("response_format"))
        self._seam = False

    def add(self, delta: Mapping[str, Any]) -> None:
        """Notes a delta that went to the client."""
        content = delta.get("content")
        if isinstance(content, str) and content:
            self._parts.append(content)
            if len(self._parts) > MOST_PARTS:
                self._parts = [self.text]
        elif content:
            self._seam = True
        if (len(delta) > 1 or "content" not in delta) and any(delta.get(key) for key in _SEAMS):
            self._seam = True

    @property
    def text(self) -> str:
        """All of it."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    @property
    def has_text(self) -> bool:
        """Whether anything but reasoning has gone out."""
        return bool(self._parts)

    @property
    def continuable(self) -> bool:
        """No seam would show: one choice, no tool call, picture or refusal begun, no structure half-way."""
        return self._single and not self._seam and (self._free or not self._parts)


def _is_free(response_format: msgspec.Raw | None) -> bool:
    if response_format is None:
        return True
    wanted = _decode(response_format)
    return not isinstance(wanted, dict) or cast("dict[str, Any]", wanted).get("type") in (None, "text")


def takes_prefill(model: Model) -> bool:
    """Whether the model goes on from the beginning of an answer."""
    return model.quirks.prefill != "none"


def continued(
    fields: Mapping[str, msgspec.Raw], text: str, model: Model, prefill: bool
) -> tuple[dict[str, msgspec.Raw], int]:
    """The body that goes on after `text`, and the input tokens, at least, that it adds to the client's own.

    Blanks at the end of a prefill are held back: some providers refuse them, and tokens rarely begin after a blank.
    """
    beginning = text.rstrip() if prefill else text
    message: dict[str, Any] = {"role": "assistant", "content": beginning}
    more = [message]
    added = MESSAGE_TOKENS + -(-len(beginning.encode()) // 4)
    if prefill:
        if model.quirks.prefill != "assistant":
            message[model.quirks.prefill] = True  # the marker's name is the quirk's
    else:
        more.append({"role": "user", "content": GO_ON})
        added += MESSAGE_TOKENS + -(-len(GO_ON) // 4)
    earlier = bytes(fields["messages"]).strip()
    messages = earlier[:-1] + b"," + _encode(more)[1:]
    return {**fields, "messages": msgspec.Raw(messages)}, added


class Splice:
    """Joins a continuation to the text before it.

    Args:
        before: what has been delivered.
        prefilled: the model was given it as the beginning of its own answer.
    """

    def __init__(self, before: str, prefilled: bool) -> None:
        self._before = before[len(before.rstrip()) :] if prefilled else before
        self._least = 1 if prefilled else LEAST_OVERLAP
        self._held = ""
        self._open = bool(self._before)
        self.trimmed = ""
        """What was cut away."""

    def feed(self, text: str) -> str:
        """What of it goes to the client now."""
        if not self._open:
            return text
        self._held += text
        if self._undecided():
            return ""
        return self.flush()

    def _undecided(self) -> bool:
        """A longer end of the text before begins with all that has come."""
        held, before = self._held, self._before
        return len(held) < len(before) and before.find(held, 0, len(before) - 1) >= 0

    def flush(self) -> str:
        """Decides with what there is."""
        held, self._held, self._open = self._held, "", False
        for length in range(min(len(held), len(self._before)), self._least - 1, -1):
            if self._before.endswith(held[:length]):
                self.trimmed = held[:length]
                return held[length:]
        return held


def spliced(splice: Splice, event: Delta, has_text: bool) -> Delta | None:
    """A continuation's delta as the client gets it; None where nothing is left of it.

    Reasoning belongs before the text: once text is out, a second model's is not shown.
    """
    delta = {key: value for key, value in event.delta.items() if key != "role"}
    if has_text:
        for key in ("reasoning_content", "reasoning", "reasoning_details"):
            delta.pop(key, None)
    content = delta.get("content")
    if isinstance(content, str):
        joined = splice.feed(content)
        if event.finish_reason is not None:
            joined += splice.flush()
        delta["content"] = joined
    elif event.finish_reason is not None or any(delta.get(key) for key in _SEAMS):
        rest = splice.flush()
        if rest:
            delta["content"] = rest
    content_left = any(delta.get(key) for key in ("content", "reasoning_content", "reasoning", *_SEAMS))
    if not content_left and event.finish_reason is None:
        return None
    return Delta(event.index, delta, event.finish_reason, event.logprobs if content_left else None, content_left)
