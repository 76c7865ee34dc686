"""Any API that speaks OpenAI's chat completions. What differs between providers is read from the model's quirks."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, cast

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
from workers.providers.openai_choices import FINISH, GAVE_UP, Choices, gave_up
from workers.providers.openai_errors import classify, in_stream, refused_inside
from workers.providers.openai_messages import in_words, messages_for
from workers.providers.parameters import Parameters, choices_of, parameters
from workers.providers.refusals import Unservable, refusal
from workers.providers.sse import EventTooLarge, SseParser

_CAPS = ("max_tokens", "max_completion_tokens")
_CONTENT_KEYS = frozenset(
    ("content", "tool_calls", "reasoning_content", "reasoning", "refusal", "images", "audio", "function_call")
)
_EXTRAS = ("system_fingerprint", "service_tier", "citations", "search_results", "images", "related_questions")
_extras = operator.attrgetter(*_EXTRAS)
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
    images: Any = None
    related_questions: Any = None
    base_resp: Any = None


_chunk = msgspec.json.Decoder(_Chunk).decode
_whole = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode
_any = msgspec.json.Decoder().decode
_MARKS = (b'"reasoning"', *(f'"{reason}"'.encode() for reason in (*FINISH, *GAVE_UP)))
"""Words in a whole answer that may need translation; without them it passes through unread."""


def bears_content(delta: Mapping[str, Any]) -> bool:
    """Whether something of the answer itself is in the delta (a role alone is not)."""
    if len(delta) == 1 and "content" in delta:
        return bool(delta["content"])  # nearly every token
    return any(value and key in _CONTENT_KEYS for key, value in delta.items())


class OpenAI:
    """The adapter; it keeps no state."""

    counts_deltas = True

    def to_fetch(self, call: ProviderCall) -> tuple[str, ...]:  # noqa: ARG002 (the protocol's)
        """Nothing: these providers load images by themselves."""
        return ()

    def request(self, call: ProviderCall) -> UpstreamRequest:
        """The client's body with the model's upstream name, the granted cap and usage always asked for.

        Refused with a 400 where the model cannot serve it.
        """
        try:
            content = _encode(body_of(call))
        except Unservable as why:
            return refusal(why)
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
        return UpstreamRequest("POST", deployment.base_url.rstrip("/") + path, headers, content)

    def reader(self, call: ProviderCall) -> Reader:
        """Streamed or whole, as the call asked."""
        quirks = call.model.quirks
        read_usage, choices = openai_usage.reader(quirks.usage_as), Choices(quirks.reasoning_field)
        try:
            warnings = parameters(call).warnings
        except Unservable:
            warnings = []  # refused: there is no answer to read
        if call.stream:
            return _StreamReader(read_usage, choices, choices_of(call), warnings)
        plain = quirks.reasoning_field in ("hidden", "reasoning_content")
        return _WholeReader(read_usage, choices, plain, warnings)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
        """Classified by status, code and type of the error body."""
        return classify(status, headers, body)


def body_of(call: ProviderCall) -> dict[str, Any]:
    """The upstream body, fields in the client's order. Raises `Unservable`."""
    model = call.model
    found = parameters(call)
    found.log_removed(call)
    body = found.fields
    body["model"] = call.deployment.upstream_model
    if "messages" in body:
        body["messages"] = messages_for(call, _schema_in_words(call, found))
    if call.cap is not None:
        for name in _CAPS:
            body.pop(name, None)
        body["max_tokens"] = call.cap
    for asked, known in model.quirks.renames.items():
        if asked in body:
            body[known] = body.pop(asked)
    _say_effort(call, found)
    body.update(model.quirks.body)
    if call.stream:
        body["stream"] = _TRUE
        body["stream_options"] = _stream_options(call.fields.get("stream_options"))
    return body


def _schema_in_words(call: ProviderCall, found: Parameters) -> str:
    """Where a provider promises JSON but no schema, the schema is told to the model."""
    if call.model.quirks.json_schema:
        return ""
    asked = found.value("response_format")
    if not isinstance(asked, dict):
        return ""
    wanted = cast("dict[str, Any]", asked)
    if wanted.get("type") != "json_schema":
        return ""
    found.fields["response_format"] = {"type": "json_object"}
    return in_words(wanted)


def _say_effort(call: ProviderCall, found: Parameters) -> None:
    effort, way, body = found.effort, call.model.quirks.effort_as, found.fields
    if effort is None:
        return
    if way == "toggle":
        body["thinking"] = {"type": effort}
    elif way == "template":
        asked = found.value("chat_template_kwargs")
        kept = cast("dict[str, Any]", asked) if isinstance(asked, dict) else {}
        body["chat_template_kwargs"] = {**kept, "enable_thinking": effort}
    else:
        body["reasoning_effort"] = effort


def _stream_options(asked: msgspec.Raw | None) -> dict[str, Any]:
    try:
        options = _whole(asked) if asked is not None else {}
    except msgspec.DecodeError:
        options = {}  # null, or something that the API has not documented
    return {**options, "include_usage": True}


class _StreamReader:
    """Chunks to events. The id is told once; extras as they change.

    The answer is complete where every choice that began has ended; without `[DONE]` all that were asked for must have.
    """

    def __init__(
        self, read_usage: openai_usage.ReadUsage, choices: Choices, asked: int, warnings: Sequence[Warned] = ()
    ) -> None:
        self._sse = SseParser()
        self._read_usage = read_usage
        self._choices = choices
        self._asked = asked
        self._first: list[Event] = [*warnings]
        self._id: str | None = None
        self._extra: tuple[Any, ...] = (None,) * len(_EXTRAS)
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._over = False

    def feed(self, data: bytes) -> list[Event]:
        events, self._first = self._first, []
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
        events, self._first = self._first, []
        if self._over:
            return events
        for event in self._sse.end():
            self._one(event.data, events)
        if not self._over:
            if self._finished and len(self._ended) >= self._asked:
                events.append(Done())
                self._over = True
            else:
                self._fail(events, ProviderFailure(kind="cut", message="the stream ended without an end", status=200))
        return events

    @property
    def _finished(self) -> bool:
        return bool(self._ended) and self._begun <= self._ended

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
        if chunk.base_resp is not None and (failure := refused_inside(chunk.base_resp, data)) is not None:
            self._fail(events, failure)
            return
        self._chunk(chunk, events)

    def _chunk(self, chunk: _Chunk, events: list[Event]) -> None:
        if self._id is None and chunk.id:
            self._id = chunk.id
            events.append(UpstreamId(chunk.id))
        self._extras(chunk, events)
        for choice in chunk.choices or ():
            finish = choice.finish_reason
            if finish in GAVE_UP:
                self._fail(events, gave_up(finish))
                return
            finish = FINISH.get(finish, finish) if finish is not None else None
            self._begun.add(choice.index)
            if finish is not None:
                self._ended.add(choice.index)
            delta = self._choices.delta(choice.index, choice.delta or {}, finish)
            events.append(Delta(choice.index, delta, finish, choice.logprobs, bears_content(delta)))
        usage = bytes(chunk.usage)
        if usage != b"null":
            tokens = self._read_usage(usage)
            if tokens is not None:
                events.append(Usage(tokens))

    def _extras(self, chunk: _Chunk, events: list[Event]) -> None:
        values = _extras(chunk)
        if values == self._extra:
            return
        found = {name: value for name, value in zip(_EXTRAS, values, strict=True) if value is not None}
        if found:
            self._extra = values
            events.append(Extra(found))


class _WholeReader:
    """Collects the body; some providers send blank lines while they think."""

    def __init__(
        self, read_usage: openai_usage.ReadUsage, choices: Choices, plain: bool, warnings: Sequence[Warned] = ()
    ) -> None:
        self._parts: list[bytes] = []
        self._read_usage = read_usage
        self._choices = choices
        self._plain = plain
        self._warnings = warnings

    def feed(self, data: bytes) -> list[Event]:
        self._parts.append(data)
        return []

    def end(self) -> list[Event]:
        raw = b"".join(self._parts)
        try:
            fields: dict[str, Any] = _whole(raw.strip())
            choices = bytes(fields.get("choices", b"")).strip()
            refused = refused_inside(_any(fields["base_resp"]), raw) if "base_resp" in fields else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return [Failed(ProviderFailure(kind="unreadable", message="the answer is not JSON", status=200))]
        error = fields.get("error")
        if error is not None and bytes(error) != b"null" and not choices.startswith(b"[{"):
            return [Failed(in_stream(bytes(error), raw))]
        if refused is not None:
            return [Failed(refused)]
        if not choices.startswith(b"["):
            return [Failed(ProviderFailure(kind="unreadable", message="the answer has no choices", status=200))]
        events: list[Event] = [*self._warnings]
        upstream_id = fields.get("id")
        if upstream_id is not None and bytes(upstream_id).startswith(b'"'):
            events.append(UpstreamId(_text(upstream_id)))
        usage = fields.get("usage")
        tokens = self._read_usage(bytes(usage)) if usage is not None else None
        if tokens is not None:
            events.append(Usage(tokens))
        if not self._plain or any(mark in choices for mark in _MARKS):
            translated = self._translate(choices)
            if isinstance(translated, ProviderFailure):
                return [*events, Failed(translated)]
            fields["choices"] = translated
        fields.pop("base_resp", None)
        return [*events, Whole(fields), Done()]

    def _translate(self, raw: bytes) -> list[dict[str, Any]] | ProviderFailure:
        choices = cast("list[dict[str, Any]]", _any(raw))
        for place, choice in enumerate(choices):
            finish = choice.get("finish_reason")
            if finish in GAVE_UP:
                return gave_up(finish)
            if finish in FINISH:
                choice["finish_reason"] = FINISH[finish] or "stop"
            index = choice.get("index", place)
            choice["message"] = self._choices.message(index, choice.get("message") or {})
        return choices
