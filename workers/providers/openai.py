"""Any API that speaks OpenAI's chat completions. What differs between providers is read from the model's quirks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from workers.providers import openai_usage
from workers.providers.base import (
    Delta,
    Done,
    Event,
    Extra,
    Failed,
    ProviderCall,
    ProviderFailure,
    Reader,
    UpstreamId,
    UpstreamRequest,
    Usage,
    Warned,
    Whole,
)
from workers.providers.openai_errors import classify, in_stream
from workers.providers.sse import EventTooLarge, SseParser

GATEWAY_FIELDS = frozenset({"models", "provider", "route", "transforms", "plugins"})
"""Words for the gateway; providers refuse what they do not know."""

EXTENSIONS = frozenset({"top_k", "min_p", "repetition_penalty", "verbosity", "reasoning_effort"})
"""Documented as ignored where the model does not know them; every other field passes through."""

_CAPS = ("max_tokens", "max_completion_tokens")
_CONTENT_KEYS = (
    "content",
    "tool_calls",
    "reasoning_content",
    "reasoning",
    "refusal",
    "images",
    "audio",
    "function_call",
)
_encode = msgspec.json.Encoder().encode
_TRUE = msgspec.Raw(b"true")


class _Choice(msgspec.Struct):
    index: int = 0
    delta: dict[str, Any] | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")
    system_fingerprint: Any = None
    service_tier: Any = None
    citations: Any = None
    search_results: Any = None


_chunk = msgspec.json.Decoder(_Chunk).decode
_whole = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode


def bears_content(delta: Mapping[str, Any]) -> bool:
    """Whether something of the answer itself is in the delta (a role alone is not)."""
    return any(delta.get(key) for key in _CONTENT_KEYS)


class OpenAI:
    """The adapter; it keeps no state."""

    counts_deltas = True

    def to_fetch(self, call: ProviderCall) -> tuple[str, ...]:  # noqa: ARG002 (the protocol's)
        """Nothing: these providers load images by themselves."""
        return ()

    def request(self, call: ProviderCall) -> UpstreamRequest:
        """The client's body with the model's upstream name, the granted cap and usage always asked for."""
        deployment, quirks = call.deployment, call.model.quirks
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if call.stream else "application/json",
            "accept-encoding": "identity",
            "user-agent": "wonrouter",
            "x-client-request-id": call.client_request_id,
        }
        if deployment.api_key:
            headers["authorization"] = f"Bearer {deployment.api_key}"
        for name, value in deployment.options.items():
            if name.startswith("header."):
                headers[name.removeprefix("header.").lower()] = value
        path = deployment.options.get("path") or quirks.path or "/chat/completions"
        return UpstreamRequest("POST", deployment.base_url.rstrip("/") + path, headers, _encode(body_of(call)))

    def reader(self, call: ProviderCall) -> Reader:
        """Streamed or whole, as the call asked."""
        read_usage = openai_usage.reader(call.model.quirks.usage_as)
        return _StreamReader(read_usage) if call.stream else _WholeReader(read_usage)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
        """Classified by status, code and type of the error body."""
        return classify(status, headers, body)


def body_of(call: ProviderCall) -> dict[str, Any]:
    """The upstream body, fields in the client's order."""
    model = call.model
    body: dict[str, Any] = {}
    for name, value in call.fields.items():
        if name in GATEWAY_FIELDS or name in ("stream", "stream_options"):
            continue
        if name in EXTENSIONS and not model.supports(name):
            continue
        body[name] = value
    body["model"] = call.deployment.upstream_model
    if call.cap is not None:
        for name in _CAPS:
            body.pop(name, None)
        body["max_tokens"] = call.cap
    for asked, known in model.quirks.renames.items():
        if asked in body:
            body[known] = body.pop(asked)
    body.update(model.quirks.body)
    if call.stream:
        body["stream"] = _TRUE
        body["stream_options"] = _stream_options(call.fields.get("stream_options"))
    return body


def _stream_options(asked: msgspec.Raw | None) -> dict[str, Any]:
    try:
        options = _whole(asked) if asked is not None else {}
    except msgspec.DecodeError:
        options = {}  # null, or something that the API has not documented
    return {**options, "include_usage": True}


class _StreamReader:
    """Chunks to events. The id is told once; extras as they change."""

    def __init__(self, read_usage: openai_usage.ReadUsage) -> None:
        self._sse = SseParser()
        self._read_usage = read_usage
        self._id: str | None = None
        self._extra: dict[str, Any] = {}
        self._finished = False
        self._over = False

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        if self._over:
            return events
        try:
            arrived = self._sse.feed(data)
        except EventTooLarge as too_large:
            return self._fail(events, ProviderFailure(kind="unreadable", message=str(too_large), status=200))
        for event in arrived:
            self._one(event.data, events)
        return events

    def end(self) -> list[Event]:
        events: list[Event] = []
        if self._over:
            return events
        for event in self._sse.end():
            self._one(event.data, events)
        if not self._over:
            if self._finished:
                events.append(Done())
                self._over = True
            else:
                self._fail(events, ProviderFailure(kind="cut", message="the stream ended without an end", status=200))
        return events

    def _fail(self, events: list[Event], failure: ProviderFailure) -> list[Event]:
        self._over = True
        events.append(Failed(failure))
        return events

    def _one(self, data: bytes, events: list[Event]) -> None:
        if self._over or not data:
            return
        if data == b"[DONE]":
            self._over = True
            if self._finished:
                events.append(Done())
            else:
                self._fail(
                    events, ProviderFailure(kind="cut", message="the stream ended without an answer", status=200)
                )
            return
        try:
            chunk = _chunk(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            events.append(Warned("unreadable_event", "The provider sent an event that could not be read."))
            return
        if bytes(chunk.error) != b"null":
            self._fail(events, in_stream(bytes(chunk.error), data))
            return
        self._chunk(chunk, events)

    def _chunk(self, chunk: _Chunk, events: list[Event]) -> None:
        if self._id is None and chunk.id:
            self._id = chunk.id
            events.append(UpstreamId(chunk.id))
        self._extras(chunk, events)
        for choice in chunk.choices or ():
            delta = choice.delta or {}
            if choice.finish_reason == "":
                choice.finish_reason = None
            if choice.finish_reason is not None:
                self._finished = True
            events.append(Delta(choice.index, delta, choice.finish_reason, choice.logprobs, bears_content(delta)))
        usage = bytes(chunk.usage)
        if usage != b"null":
            tokens = self._read_usage(usage)
            if tokens is not None:
                events.append(Usage(tokens))

    def _extras(self, chunk: _Chunk, events: list[Event]) -> None:
        if (
            chunk.system_fingerprint is None
            and chunk.service_tier is None
            and chunk.citations is None
            and chunk.search_results is None
        ):
            return
        names = ("system_fingerprint", "service_tier", "citations", "search_results")
        found = {name: value for name in names if (value := getattr(chunk, name)) is not None}
        if found != self._extra:
            self._extra = found
            events.append(Extra(found))


class _WholeReader:
    """Collects the body; some providers send blank lines while they think."""

    def __init__(self, read_usage: openai_usage.ReadUsage) -> None:
        self._parts: list[bytes] = []
        self._read_usage = read_usage

    def feed(self, data: bytes) -> list[Event]:
        self._parts.append(data)
        return []

    def end(self) -> list[Event]:
        raw = b"".join(self._parts)
        try:
            fields = _whole(raw.strip())
            choices = bytes(fields.get("choices", b"")).strip()
        except msgspec.DecodeError:
            return [Failed(ProviderFailure(kind="unreadable", message="the answer is not JSON", status=200))]
        error = fields.get("error")
        if error is not None and bytes(error) != b"null" and not choices.startswith(b"[{"):
            return [Failed(in_stream(bytes(error), raw))]
        if not choices.startswith(b"["):
            return [Failed(ProviderFailure(kind="unreadable", message="the answer has no choices", status=200))]
        events: list[Event] = []
        upstream_id = fields.get("id")
        if upstream_id is not None and bytes(upstream_id).startswith(b'"'):
            events.append(UpstreamId(_text(upstream_id)))
        usage = fields.get("usage")
        tokens = self._read_usage(bytes(usage)) if usage is not None else None
        if tokens is not None:
            events.append(Usage(tokens))
        return [*events, Whole(dict(fields)), Done()]
