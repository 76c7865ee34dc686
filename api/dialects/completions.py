"""Legacy completions as chat completions: one chat body for each prompt, and chat answers as `text_completion` objects.

Choice j of prompt i has index i * n + j. What the old API knew and chat does not (token arrays, `suffix`, `best_of`) is
refused, never ignored.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

import msgspec

from api.json_depth import too_deep
from gateway.errors import InvalidRequest
from gateway.money import exact, won_text

MOST_PROMPTS = 20
"""Every prompt is a call of its own, with its own hold and slot."""
MOST_LOGPROBS = 5
"""As the old API had it."""
_OLD = ("prompt", "suffix", "best_of", "echo", "logprobs")
_FINISH = {"length": "length", "content_filter": "content_filter"}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class CompletionsBody(msgspec.Struct):
    """What is looked at; everything else travels on in the chat bodies."""

    prompt: Any = None
    suffix: str | None = None
    best_of: int | None = None
    n: int | None = None
    echo: bool | None = None
    logprobs: int | bool | None = None
    stream: bool | None = None


class Wanted(msgspec.Struct, frozen=True):
    """The request as chat bodies, and what is needed to answer it. `prompts` are texts to echo."""

    bodies: list[bytes]
    prompts: list[str]
    n: int
    echo: bool
    logprobs: bool
    stream: bool


_body = msgspec.json.Decoder(CompletionsBody).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def parse(raw: bytes, most_depth: int) -> Wanted:
    """Raises `InvalidRequest`; what chat has in common is checked where the chat bodies are."""
    if too_deep(raw, most_depth):
        raise InvalidRequest(f"The body must be JSON that nests at most {most_depth} levels.")
    try:
        body, fields = _body(raw), _fields(raw)
    except msgspec.ValidationError as exc:
        raise InvalidRequest(str(exc)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequest("The request body is not valid JSON.") from exc
    prompts, n = _prompts(body.prompt), body.n or 1
    if body.suffix:
        raise InvalidRequest("'suffix' is not supported.", param="suffix")
    if body.best_of is not None and body.best_of != n:
        raise InvalidRequest("'best_of' must equal 'n'.", param="best_of")
    top = None if body.logprobs is None or body.logprobs is False else int(body.logprobs)
    if top is not None and not 0 <= top <= MOST_LOGPROBS:
        raise InvalidRequest(f"'logprobs' must be between 0 and {MOST_LOGPROBS}.", param="logprobs")
    kept: dict[str, Any] = {name: value for name, value in fields.items() if name not in _OLD and name != "messages"}
    if top is not None:
        kept |= {"logprobs": True, "top_logprobs": top}
    bodies = [_encode({**kept, "messages": [{"role": "user", "content": prompt}]}) for prompt in prompts]
    return Wanted(bodies, prompts, n, bool(body.echo), top is not None, bool(body.stream))


def _prompts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise InvalidRequest("'prompt' must be a string or an array of strings.", param="prompt")
    prompts = cast("list[object]", value)
    if not all(isinstance(prompt, str) for prompt in prompts):
        raise InvalidRequest("Prompts of tokens are not supported: send text.", param="prompt")
    if len(prompts) > MOST_PROMPTS:
        raise InvalidRequest(f"'prompt' may hold at most {MOST_PROMPTS} strings.", param="prompt")
    return cast("list[str]", prompts)


class Sum:
    """The usage of several answers: tokens and exact money."""

    def __init__(self) -> None:
        self.total: dict[str, Any] = {}

    def add(self, usage: dict[str, Any], into: dict[str, Any] | None = None) -> None:
        """Adds one answer's usage."""
        total = self.total if into is None else into
        for name, value in usage.items():
            if isinstance(value, dict):
                self.add(cast("dict[str, Any]", value), total.setdefault(name, {}))
            elif isinstance(value, int):
                total[name] = total.get(name, 0) + value
            elif isinstance(value, str):
                total[name] = won_text(exact(total.get(name, "0")) + Decimal(value))


class Translator:
    """One prompt's chat answer as `text_completion` choices. `at` is the prompt's place."""

    def __init__(self, wanted: Wanted, at: int) -> None:
        self._wanted = wanted
        self._at = at
        self._offsets: dict[int, int] = {}

    def choice(self, chat: dict[str, Any], text: str) -> dict[str, Any]:
        """A chat choice with the text it shows; the prompt comes before a choice's first text where it is echoed."""
        index = self._at * self._wanted.n + int(chat.get("index") or 0)
        offset = self._offsets.get(index, 0)
        if index not in self._offsets and self._wanted.echo:
            prompt = self._wanted.prompts[self._at]
            text, offset = prompt + text, len(prompt)
        logprobs, length = _logprobs(chat.get("logprobs"), offset)
        self._offsets[index] = offset + length
        finish = chat.get("finish_reason")
        return {
            "text": text,
            "index": index,
            "logprobs": logprobs if self._wanted.logprobs else None,
            "finish_reason": None if finish is None else _FINISH.get(str(finish), "stop"),
        }

    def whole(self, answer: dict[str, Any]) -> list[dict[str, Any]]:
        """The choices of a whole chat answer."""
        return [self.choice(chat, _text(chat.get("message"))) for chat in answer["choices"]]

    def pieces(self, chunk: dict[str, Any]) -> list[dict[str, Any]]:
        """The choices of a chunk that show something."""
        found: list[dict[str, Any]] = []
        for chat in chunk["choices"]:
            text = _text(chat.get("delta"))
            first = self._at * self._wanted.n + int(chat.get("index") or 0) not in self._offsets
            if text or chat.get("finish_reason") is not None or chat.get("logprobs") or (first and self._wanted.echo):
                found.append(self.choice(chat, text))
        return found


def _text(message: object) -> str:
    content = cast("dict[str, Any]", message).get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else ""


def _logprobs(chat: object, offset: int) -> tuple[dict[str, Any] | None, int]:
    """The old shape, and how many characters it covers."""
    content = cast("dict[str, Any]", chat).get("content") if isinstance(chat, dict) else None
    if not isinstance(content, list):
        return None, 0
    tokens = cast("list[dict[str, Any]]", content)
    offsets: list[int] = []
    at = offset
    for token in tokens:
        offsets.append(at)
        at += len(token["token"])
    shaped = {
        "tokens": [token["token"] for token in tokens],
        "token_logprobs": [token.get("logprob") for token in tokens],
        "top_logprobs": [{top["token"]: top["logprob"] for top in token.get("top_logprobs") or ()} for token in tokens],
        "text_offset": offsets,
    }
    return shaped, at - offset


def head_of(chat: dict[str, Any], job: str) -> dict[str, Any]:
    """The fields before the choices; the id is the first prompt's."""
    return {"id": "cmpl-" + job, "object": "text_completion", "created": chat["created"], "model": chat["model"]}


def chunks_in(data: bytes) -> list[dict[str, Any]]:
    """The chat chunks of whole events."""
    return [_decode(event[6:]) for event in data.split(b"\n\n") if event.startswith(b"data: {")]
