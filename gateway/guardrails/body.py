"""The guardrails over a whole request body: every text in it, and nothing but text.

Walked by exception, not by permission: a field that nobody thought of is checked too. Left alone is what names or
carries something else: ids, the model, images, audio, the contents of files and providers' signatures.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from gateway.errors import ForbiddenContent, GatewayError, InternalError, InvalidRequest
from gateway.guardrails.kinds import KINDS
from gateway.guardrails.personal import Match, Policy, counts, find, mask, put
from gateway.guardrails.stream import mask_json
from gateway.guardrails.words import WordList

OFF_LOOP_BYTES = 64 * 1024
"""Bodies above this are checked in a thread: the check would keep the event loop from others for too long."""

MAX_DEPTH = 64
"""Nesting that no client needs and a recursive walk must not follow."""

# Strings that are no text of the prompt: what names something, settings with fixed values, providers' seals.
_LEFT_ALONE = frozenset(
    {
        "id", "tool_call_id", "call_id", "item_id", "file_id", "previous_response_id", "model", "models", "role", "type",
        "url", "image_url", "detail", "format", "signature", "thought_signature", "thoughtSignature",
        "encrypted_content", "tool_choice", "reasoning_effort", "verbosity", "service_tier", "modalities", "effort",
    }
)  # fmt: skip
# Where media lies as base64 or as a data: URL; short strings there are looked at all the same.
_MEDIA = frozenset({"data", "file_data", "image", "audio"})
_BASE64 = re.compile(r"[A-Za-z0-9+/=_\-\s]{200}")
# Fields whose value, when it is not a string, is data: numbers in it are checked too, and every key.
_DATA = frozenset({"arguments", "input", "output", "metadata"})
_PLAIN_NAME = re.compile(r"[A-Za-z_]{1,40}")


class Refused(ForbiddenContent):
    """A forbidden word or a blocked kind. What the caller sees names kinds only; ``word`` is for the owner's audit.

    ``location`` is where it stood (``messages[0].content``); neither attribute holds text of the prompt.
    """

    def __init__(self, location: str, *, word: str | None = None, kinds: tuple[str, ...] = ()) -> None:
        if word is None:
            labels = ", ".join(KINDS[kind].label_ko for kind in kinds)
            super().__init__(
                f"개인정보가 포함되어 있습니다: {labels}",
                details={"kinds": list(kinds)},
            )
        else:
            super().__init__()
        self.location = location
        self.word = word
        self.kinds = kinds


@dataclass(frozen=True, slots=True)
class Found:
    """How many of one kind were masked at one place."""

    location: str
    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class Checked:
    """The body to send. ``changed`` False: it is the very object that came, so its original bytes can go on."""

    body: dict[str, Any]
    changed: bool
    found: tuple[Found, ...]

    def kinds(self) -> dict[str, int]:
        """How many of each kind were masked in the whole body."""
        total: Counter[str] = Counter()
        for entry in self.found:
            total[entry.kind] += entry.count
        return dict(total)


def check_body(body: dict[str, Any], policy: Policy, words: WordList | None = None) -> Checked:
    """Masks the personal data in a decoded OpenAI request body; the body that came is not modified.

    Raises:
        Refused: a forbidden word, or a kind that the organisation blocks.
        InvalidRequest: nested deeper than ``MAX_DEPTH``.
        InternalError: anything unexpected. The guardrails fail closed, and the cause is not chained to it: its message
            could quote the prompt.
    """
    walk = Walk(policy, words if words is not None and len(words) else None)
    try:
        checked = walk.fields(body, "", 0)
    except GatewayError:
        raise
    except Exception:  # noqa: BLE001 - whatever it is, the text was not checked, so it does not leave
        raise InternalError from None
    found = tuple(Found(location, kind, count) for (location, kind), count in walk.found.items())
    return Checked(checked, checked is not body, found)


@dataclass
class Walk:
    """One way through a body. What it meets it tells to ``meet`` and ``look_for_words``, which refuse and count here."""

    policy: Policy
    words: WordList | None
    found: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])

    def fields(self, fields: dict[str, Any], location: str, depth: int) -> dict[str, Any]:
        """A request, message, part or schema."""
        _shallow(depth)
        changed: dict[str, Any] = {}
        for key, value in fields.items():
            checked = self._field(key, value, _join(location, key), depth)
            if checked is not value:
                changed[key] = checked
        return {**fields, **changed} if changed else fields

    def _field(self, key: str, value: Any, where: str, depth: int) -> Any:
        if isinstance(value, str):
            return self._string(key, value, where)
        if isinstance(value, dict):
            inner = cast("dict[str, Any]", value)
            # The messages of a Responses call are called input as well.
            return self._data(inner, where, "", depth + 1) if key in _DATA else self.fields(inner, where, depth + 1)
        if isinstance(value, list):
            return self._items(key, cast("list[Any]", value), where, depth + 1)
        return value

    def _string(self, key: str, value: str, where: str) -> str:
        if key in _LEFT_ALONE or (key in _MEDIA and (value.startswith("data:") or _BASE64.match(value))):
            return value
        if key == "name":
            # Providers allow letters, digits, _ and - in names: a mask of asterisks would be refused.
            return self._plain(value, where, stand_in="_")
        if key == "arguments" and _is_json(value):
            return self._json(value, where)
        return self.text(value, where)

    def _items(self, key: str, items: list[Any], location: str, depth: int) -> list[Any]:
        _shallow(depth)
        inner = key if key in _LEFT_ALONE else ""
        checked = [self._field(inner, item, f"{location}[{index}]", depth) for index, item in enumerate(items)]
        checked = self._across(checked, location)
        return items if all(map(operator.is_, checked, items)) else checked

    def _across(self, items: list[Any], location: str) -> list[Any]:
        """What is split over neighbouring text parts: the model reads them as one text."""
        places = [index for index, item in enumerate(items) if _is_text_part(item)]
        if len(places) < 2:
            return items
        texts = [items[index]["text"] for index in places]
        whole = "".join(texts)
        self.look_for_words(whole, location)
        matches = find(whole, self.policy)
        if not matches:
            return items
        self.meet(location, counts(matches), matches)
        masked, items = put(whole, matches), list(items)
        position = 0
        for index, text in zip(places, texts, strict=True):
            part = masked[position : position + len(text)]
            position += len(text)
            if part != text:
                items[index] = {**items[index], "text": part}
        return items

    def text(self, text: str, location: str) -> str:
        """One text. What is a JSON document stays one; everything else is masked in place."""
        if text[:1].isspace() or text[:1] in ("{", "["):
            stripped = text.lstrip()
            if stripped[:1] in ("{", "[") and _is_json(text):
                return self._json(text, location)
        return self._plain(text, location)

    def _plain(self, text: str, location: str, stand_in: str = "*") -> str:
        self.look_for_words(text, location)
        masked, matches = mask(text, self.policy)
        if not matches:
            return text
        self.meet(location, counts(matches), matches)
        if stand_in != "*":
            masked = put(
                text,
                [Match(m.kind, m.start, m.end, m.mask.replace("*", stand_in)) for m in matches],
            )
        return masked

    def _json(self, text: str, location: str) -> str:
        # Escapes could hide a word from a search in the document's text.
        self.look_for_words(text if "\\" not in text else _strings_of(text), location)
        masked, kinds = mask_json(text, self.policy)
        self.meet(location, kinds)
        return masked

    def _data(self, value: Any, location: str, key: str, depth: int) -> Any:
        """Decoded data of a tool or of ``metadata``; ``key`` is what stands directly before the value."""
        _shallow(depth)
        if isinstance(value, str):
            return self._with_key(value, key, location)
        if isinstance(value, int) and not isinstance(value, bool):
            return self._number(value, key, location)
        if isinstance(value, float) and value.is_integer():
            return self._number(value, key, location)
        if isinstance(value, list):
            items = cast("list[Any]", value)
            checked = [self._data(item, location, "" if at else key, depth + 1) for at, item in enumerate(items)]
            return items if all(map(operator.is_, checked, items)) else checked
        if isinstance(value, dict):
            entries = cast("dict[str, Any]", value)
            fresh = {
                self._plain(name, location): self._data(inner, location, name, depth + 1)
                for name, inner in entries.items()
            }
            same = len(fresh) == len(entries) and all(
                fresh.get(name, fresh) is inner for name, inner in entries.items()
            )
            return entries if same else fresh
        return value

    def _number(self, value: float, key: str, location: str) -> Any:
        """A whole number; it becomes a string when it is personal data."""
        shown = str(int(value))
        masked = self._with_key(shown, key, location)
        return value if masked == shown else masked

    def _with_key(self, text: str, key: str, location: str) -> str:
        self.look_for_words(text, location)
        masked, matches = mask(text, self.policy, before=f'"{key}": ' if key else "")
        self.meet(location, counts(matches), matches)
        return masked

    def look_for_words(self, text: str, location: str) -> None:
        """Raises ``Refused`` where a text holds a forbidden word."""
        if self.words is not None and (word := self.words.find(text)) is not None:
            raise Refused(location, word=word)

    def meet(self, location: str, kinds: dict[str, int], _matches: Sequence[Match] = ()) -> None:
        """Counts what is masked at a place; ``_matches`` say where, except in JSON. Raises ``Refused`` if blocked."""
        blocked = tuple(kind for kind in kinds if self.policy.action(kind) == "block")
        if blocked:
            raise Refused(location, kinds=blocked)
        for kind, count in kinds.items():
            self.found[location, kind] += count


def _shallow(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"The request is nested deeper than {MAX_DEPTH} levels")


def _join(location: str, key: str) -> str:
    """The path of a field. A key that is no plain name could itself be personal data and is not repeated."""
    name = key if _PLAIN_NAME.fullmatch(key) else "*"
    return f"{location}.{name}" if location else name


def _is_text_part(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(cast("dict[str, Any]", item).get("text"), str)


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return False
    return True


def _strings_of(text: str) -> str:
    """Every string and key of a JSON document, one a line."""
    found: list[str] = []
    _gather(msgspec.json.decode(text), found.append)
    return "\n\n".join(found)


def _gather(value: Any, add: Callable[[str], None]) -> None:
    if isinstance(value, str):
        add(value)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            _gather(item, add)
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            add(key)
            _gather(item, add)
