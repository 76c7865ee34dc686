"""Personal data in answers, masked before anything of it is published, kept or gone on with.

A client puts the deltas of a field together, so each field of each choice is masked as one text, however it is cut.
What could still grow into a match is held back, at most 64 characters, until more comes or the choice ends. A blocked
kind is masked too: an answer that is on its way cannot be refused any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from gateway.guardrails.personal import Policy, counts, mask
from gateway.guardrails.stream import StreamMasker, mask_json
from gateway.wire.job import Job
from workers.providers.base import Delta, Warned

MASKED = Warned("personal_data_masked", "Personal data in the answer was masked.")
LOGPROBS = Warned("logprobs_dropped", "The organization has answers masked: logprobs would show the tokens.")

# What names or carries something else than text of the answer.
_LEFT_ALONE = frozenset(
    {
        "role", "id", "type", "index", "name", "url", "image_url", "data", "signature", "format", "object", "model",
        "system_fingerprint", "service_tier", "images", "tool_call_id", "encrypted_content", "thought_signature",
    }
)  # fmt: skip
_STRUCTURED = (b'"json_object"', b'"json_schema"')


def masking_of(job: Job, fields: Mapping[str, msgspec.Raw]) -> AnswerMasking | None:
    """What masks the answer to a job; None where its organisation does not want that."""
    if not job.mask_output:
        return None
    wanted = bytes(fields.get("response_format", b""))
    return AnswerMasking(Policy.of(dict.fromkeys(job.mask_output, "mask")), any(kind in wanted for kind in _STRUCTURED))


class AnswerMasking:
    """The masking of one answer, streamed or whole.

    Args:
        policy: which kinds.
        structured: the content is JSON and stays so.
    """

    def __init__(self, policy: Policy, structured: bool) -> None:
        self._policy = policy
        self._structured = structured
        self._maskers: dict[tuple[Any, ...], StreamMasker] = {}
        self._ended: Counter[str] = Counter()
        self.dropped_logprobs = False
        self._waiting: list[Delta] = []

    def found(self) -> dict[str, int]:
        """How many of each kind were masked so far."""
        total = Counter(self._ended)
        for masker in self._maskers.values():
            total.update(masker.found)
        return dict(total)

    def warnings(self) -> list[Warned]:
        """What the client is told at the end."""
        return [MASKED] * bool(self.found()) + [LOGPROBS] * self.dropped_logprobs

    def delta(self, event: Delta) -> tuple[Delta | None, list[Delta]]:
        """The delta as it may go out, if anything of it may, and those that have gone out with it: as they came, for
        what is charged is what the provider said."""
        shown: dict[str, Any] = {}
        for key, value in event.delta.items():
            masked = self._field(event.index, key, value)
            if masked is not None:
                shown[key] = masked
        if event.finish_reason is not None:
            _join(shown, self._rest(event.index))
        self.dropped_logprobs |= event.logprobs is not None
        if event.content:
            self._waiting.append(event)
        seen = any(shown.get(key) for key in shown if key != "role")
        gone: list[Delta] = []
        if seen or event.finish_reason is not None:
            gone, self._waiting = self._waiting, []
        elif event.content or not shown:
            return None, gone
        return Delta(event.index, shown, event.finish_reason, None, seen), gone

    def rest(self) -> tuple[list[Delta], list[Delta]]:
        """The answer ends here: what was held back, masked, and what has gone out with it as it came."""
        indexes = sorted({key[0] for key in self._maskers})
        tails = [(index, self._rest(index)) for index in indexes]
        gone, self._waiting = self._waiting, []
        return [Delta(index, tail, None, None, True) for index, tail in tails if tail], gone

    def cut(self) -> None:
        """The provider broke off. What was held back was not delivered; somebody else goes on from what was."""
        self._waiting.clear()
        for masker in self._maskers.values():
            masker.drop()

    def whole(self, choices: list[Any]) -> list[Any]:
        """The choices of a whole answer."""
        return [
            self._whole_choice(cast("dict[str, Any]", choice)) if isinstance(choice, dict) else choice
            for choice in choices
        ]

    def extra(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Top-level fields beside the choices: citations, search results, related questions."""
        return {key: self._value(key, value) for key, value in fields.items()}

    def _whole_choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        if choice.get("logprobs") is not None:
            self.dropped_logprobs = True
        masked = {key: self._value(key, value) for key, value in choice.items() if key not in ("message", "logprobs")}
        message: dict[str, Any] = choice.get("message") or {}
        shown: dict[str, Any] = {}
        for key, value in message.items():
            if isinstance(value, str) and key == "content" and self._structured:
                shown[key] = self._json(value)
            else:
                shown[key] = self._value(key, value)
        return masked | {"message": shown, "logprobs": None}

    def _field(self, choice: int, key: str, value: Any) -> Any:
        """A delta's field, or None where nothing of it may go out yet."""
        if key in _LEFT_ALONE or value is None:
            return value
        if isinstance(value, str):
            return self._feed((choice, key), value, json_text=key == "content" and self._structured)
        if key == "tool_calls" and isinstance(value, list):
            calls = [self._call(choice, call) for call in cast("list[dict[str, Any]]", value)]
            return [call for call in calls if call is not None] or None
        if key == "function_call" and isinstance(value, dict):
            return self._function((choice, key), cast("dict[str, Any]", value))
        if key == "reasoning_details" and isinstance(value, list):
            return [self._detail(choice, detail) for detail in cast("list[dict[str, Any]]", value)]
        if key == "audio" and isinstance(value, dict):
            audio = cast("dict[str, Any]", value)
            return {name: self._field_of_audio(choice, name, part) for name, part in audio.items()}
        return self._value(key, value)

    def _call(self, choice: int, call: dict[str, Any]) -> dict[str, Any] | None:
        place = call.get("index", 0)
        function: dict[str, Any] = call.get("function") or {}
        masked = self._function((choice, "tool_calls", place), function) if function else function
        custom: dict[str, Any] = call.get("custom") or {}
        if isinstance(custom.get("input"), str):
            call = call | {"custom": custom | {"input": self._feed((choice, "custom", place), custom["input"])}}
        if function and not masked and not call.get("id"):
            return None
        return call | {"function": masked} if function else call

    def _function(self, place: tuple[Any, ...], function: dict[str, Any]) -> dict[str, Any]:
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            return function
        sent = self._feed(place, arguments, json_text=True)
        rest = {name: value for name, value in function.items() if name != "arguments"}
        return rest | {"arguments": sent} if sent or rest or not arguments else {}

    def _detail(self, choice: int, detail: dict[str, Any]) -> dict[str, Any]:
        place = (choice, "reasoning_details", detail.get("index", 0))
        return {
            key: self._feed((*place, key), value) if key in ("text", "summary") and isinstance(value, str) else value
            for key, value in detail.items()
        }

    def _field_of_audio(self, choice: int, name: str, part: Any) -> Any:
        return self._feed((choice, "audio"), part) if name == "transcript" and isinstance(part, str) else part

    def _feed(self, place: tuple[Any, ...], text: str, *, json_text: bool = False) -> str:
        masker = self._maskers.get(place)
        if masker is None:
            masker = self._maskers[place] = StreamMasker(self._policy, json_text=json_text)
        return masker.feed(text)

    def _rest(self, choice: int) -> dict[str, Any]:
        """What the maskers of a choice hold, as a delta. They are done."""
        tail: dict[str, Any] = {}
        for place in [place for place in self._maskers if place[0] == choice]:
            masker = self._maskers.pop(place)
            text = masker.end()
            self._ended.update(masker.found)
            if text:
                _join(tail, _tail_of(place, text))
        return tail

    def _value(self, key: str, value: Any) -> Any:
        """A value that comes whole: every string in it is a text, but for ids and the like."""
        if isinstance(value, str):
            if key in _LEFT_ALONE:
                return value
            return self._json(value) if key == "arguments" else self._text(value)
        if isinstance(value, list):
            return [self._value(key, item) for item in cast("list[Any]", value)]
        if isinstance(value, dict):
            return {name: self._value(name, item) for name, item in cast("dict[str, Any]", value).items()}
        return value

    def _text(self, text: str) -> str:
        masked, matches = mask(text, self._policy)
        self._ended.update(counts(matches))
        return masked

    def _json(self, text: str) -> str:
        masked, kinds = mask_json(text, self._policy)
        self._ended.update(kinds)
        return masked


_TAILS: dict[str, Callable[[tuple[Any, ...], str], dict[str, Any]]] = {
    "tool_calls": lambda place, text: {"tool_calls": [{"index": place[2], "function": {"arguments": text}}]},
    "custom": lambda place, text: {"tool_calls": [{"index": place[2], "custom": {"input": text}}]},
    "function_call": lambda _, text: {"function_call": {"arguments": text}},
    "reasoning_details": lambda place, text: {"reasoning_details": [{"index": place[2], place[3]: text}]},
    "audio": lambda _, text: {"audio": {"transcript": text}},
}


def _tail_of(place: tuple[Any, ...], text: str) -> dict[str, Any]:
    made = _TAILS.get(place[1])
    return {place[1]: text} if made is None else made(place, text)


def _join(delta: dict[str, Any], tail: Mapping[str, Any]) -> None:
    """Puts the end of a choice behind what its last delta brought."""
    for key, value in tail.items():
        before = delta.get(key)
        if isinstance(before, str) and isinstance(value, str):
            delta[key] = before + value
        elif isinstance(before, list):
            delta[key] = [*cast("list[Any]", before), *value]
        elif isinstance(before, dict):
            name, text = next(iter(cast("dict[str, Any]", value).items()))
            known = cast("dict[str, Any]", before)
            delta[key] = known | {name: str(known.get(name) or "") + text}
        else:
            delta[key] = value
