"""Gemini's answers, streamed or whole, as OpenAI's deltas."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from gateway.catalogue.model import Quantities
from gateway.wire.event import Tokens
from workers.providers.base import Delta, Event, ProviderCall, ProviderFailure, UpstreamId, Usage
from workers.providers.bodies import Translation, Unreadable
from workers.providers.google_errors import in_stream
from workers.providers.signatures import sign

_BROKEN = frozenset(
    {"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE"}
)
"""The model wrote something that Google could not read: another attempt may do better."""

_encode = msgspec.json.Encoder().encode


class _Candidate(msgspec.Struct, rename="camel"):
    index: int = 0
    content: dict[str, Any] | None = None
    finish_reason: str | None = None
    logprobs_result: dict[str, Any] | None = None


class _Chunk(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: dict[str, Any] | None = None
    usage_metadata: dict[str, Any] | None = None
    response_id: str = ""
    error: Any = None


class _Choice(msgspec.Struct):
    """One candidate so far."""

    calls: int = 0
    images: int = 0
    finished: bool = False


_chunk = msgspec.json.Decoder(_Chunk).decode


def finish_of(reason: str, called: bool) -> str:
    """OpenAI's finish reason; one that is not known is told as filtered, never as complete."""
    if called and reason == "STOP":
        return "tool_calls"
    return {"STOP": "stop", "MAX_TOKENS": "length"}.get(reason, "content_filter")


class Answer(Translation):
    """One answer."""

    def __init__(self, call: ProviderCall) -> None:
        self._model = call.deployment.upstream_model
        self._seed = call.client_request_id
        self._id = ""
        self._choices: dict[int, _Choice] = {}
        self._usage: Tokens | None = None

    def event(self, data: bytes, events: list[Event]) -> None:
        """One chunk: a response of its own, with what is new."""
        try:
            chunk = _chunk(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as broken:
            raise Unreadable("a chunk could not be read") from broken
        if chunk.error is not None:
            self.fail(in_stream(data), events)
            return
        if chunk.response_id and not self._id:
            self._id = chunk.response_id
            events.append(UpstreamId(chunk.response_id))
        if chunk.usage_metadata:
            tokens = tokens_of(chunk.usage_metadata)
            if tokens != self._usage:
                self._usage = tokens
                events.append(Usage(tokens))
        for candidate in chunk.candidates or ():
            self._candidate(candidate, events)
            if self.over:
                return
        if not self._choices and chunk.prompt_feedback and chunk.prompt_feedback.get("blockReason"):
            self._choices[0] = _Choice(finished=True)
            events.append(Delta(0, {"role": "assistant", "content": ""}, "content_filter"))
        self.finished = bool(self._choices) and all(choice.finished for choice in self._choices.values())

    def whole(self, data: bytes, events: list[Event]) -> None:
        """A whole response: one chunk that holds everything."""
        self.event(data, events)

    def _candidate(self, candidate: _Candidate, events: list[Event]) -> None:
        index = candidate.index
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
            events.append(Delta(index, {"role": "assistant", "content": ""}))
        parts = (candidate.content or {}).get("parts")
        for part in cast("list[object]", parts) if isinstance(parts, list) else ():
            if isinstance(part, dict):
                self._part(index, choice, cast("dict[str, Any]", part), events)
        if candidate.logprobs_result:
            events.append(Delta(index, {}, None, logprobs_of(candidate.logprobs_result)))
        reason = candidate.finish_reason
        if not reason or choice.finished:
            return
        if reason in _BROKEN:
            message = f"Gemini ended its answer with {reason}"
            self.fail(ProviderFailure(kind="unreadable", message=message, status=200), events)
            return
        choice.finished = True
        events.append(Delta(index, {}, finish_of(reason, choice.calls > 0)))

    def _part(self, index: int, choice: _Choice, part: Mapping[str, Any], events: list[Event]) -> None:
        signature = part.get("thoughtSignature")
        extra = {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}
        text = part.get("text")
        if part.get("thought"):
            if text:
                events.append(Delta(index, {"reasoning_content": text}, content=True))
        elif isinstance(part.get("functionCall"), dict):
            self._call(index, choice, part["functionCall"], signature, events)
        elif isinstance(part.get("inlineData"), dict):
            data = part["inlineData"]
            url = f"data:{data.get('mimeType') or 'image/png'};base64,{data.get('data') or ''}"
            image = {"type": "image_url", "index": choice.images, "image_url": {"url": url}, **extra}
            choice.images += 1
            events.append(Delta(index, {"images": [image]}, content=True))
        elif text or (extra and isinstance(text, str)):
            events.append(Delta(index, {"content": text, **extra} if text else extra, content=bool(text)))

    def _call(
        self, index: int, choice: _Choice, call: Mapping[str, Any], signature: str | None, events: list[Event]
    ) -> None:
        """A call comes whole. Its id is ours: Gemini's may be missing, and has to carry the signature."""
        number, choice.calls = choice.calls, choice.calls + 1
        origin = f"{self._seed}/{self._id}/{index}/{number}"
        given = "call_" + hashlib.sha256(origin.encode()).hexdigest()[:20]
        function = {"name": call.get("name"), "arguments": _encode(call.get("args") or {}).decode()}
        tool = {"index": number, "id": sign(given, self._model, signature), "type": "function", "function": function}
        events.append(Delta(index, {"tool_calls": [tool]}, content=True))


def logprobs_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Gemini's log probabilities in OpenAI's shape."""
    tops = cast("list[dict[str, Any]]", result.get("topCandidates") or [])
    content: list[dict[str, Any]] = []
    for place, chosen in enumerate(cast("list[dict[str, Any]]", result.get("chosenCandidates") or [])):
        others = tops[place].get("candidates") if place < len(tops) else None
        listed = [_logprob(other) for other in cast("list[dict[str, Any]]", others or [])]
        content.append({**_logprob(chosen), "top_logprobs": listed})
    return {"content": content, "refusal": None}


def _logprob(candidate: Mapping[str, Any]) -> dict[str, Any]:
    token = str(candidate.get("token") or "")
    return {"token": token, "logprob": candidate.get("logProbability", 0.0), "bytes": list(token.encode())}


def tokens_of(usage: Mapping[str, Any]) -> Tokens:
    """Gemini's counts in ours.

    Its candidates leave thoughts out, and its prompt what tools read, as its own total shows; where the total says
    that thoughts are inside the candidates already, they are not added again.
    """
    prompt, tool_prompt = _int(usage, "promptTokenCount"), _int(usage, "toolUsePromptTokenCount")
    candidates, thoughts = _int(usage, "candidatesTokenCount"), _int(usage, "thoughtsTokenCount")
    inside = thoughts > 0 and _int(usage, "totalTokenCount") == prompt + tool_prompt + candidates
    details = usage.get("candidatesTokensDetails")
    image = sum(
        _int(detail, "tokenCount")
        for detail in cast("list[dict[str, Any]]", details if isinstance(details, list) else [])
        if detail.get("modality") == "IMAGE"
    )
    q = Quantities.clamped(
        prompt + tool_prompt,
        candidates if inside else candidates + thoughts,
        cached=_int(usage, "cachedContentTokenCount"),
        reasoning=thoughts,
        image=image,
    )
    return Tokens(**msgspec.structs.asdict(q))


def _int(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if type(value) is int and value >= 0 else 0
