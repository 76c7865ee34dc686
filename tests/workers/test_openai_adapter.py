"""The OpenAI adapter: what it sends, what it reads, however the bytes are cut."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalogue.packaged import builtin
from gateway.deployments.deployment import Deployment
from gateway.wire.event import Tokens
from workers.providers.base import (
    Delta,
    Done,
    Event,
    Extra,
    Failed,
    ProviderCall,
    ProviderFailure,
    UpstreamId,
    Usage,
    Warned,
    Whole,
)
from workers.providers.openai import OpenAI

ADAPTER = OpenAI()


def call(body: dict[str, Any], model: str = "openai/gpt-4o", cap: int | None = None, **options: str) -> ProviderCall:
    return ProviderCall(
        model=builtin().models[model],
        deployment=Deployment("d", model, "openai", "https://host/v1/", "upstream-name", "sk-1", options=options),
        fields=msgspec.json.decode(json.dumps(body), type=dict[str, msgspec.Raw]),
        stream=bool(body.get("stream")),
        cap=cap,
        client_request_id="job.1.1",
    )


def sent(wanted: ProviderCall) -> dict[str, Any]:
    return json.loads(ADAPTER.request(wanted).content)


def test_the_clients_body_goes_out_under_the_upstream_name() -> None:
    body = {"model": "kr/gpt4o", "messages": [{"role": "user", "content": "안녕"}], "seed": 7, "new_field": {"a": [1]}}
    request = ADAPTER.request(call(body))
    assert json.loads(request.content) == {**body, "model": "upstream-name"}
    assert request.url == "https://host/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer sk-1"
    assert request.headers["x-client-request-id"] == "job.1.1"


def test_words_for_the_gateway_stay_here() -> None:
    assert sent(call({"model": "m", "messages": [], "models": ["a"], "provider": {"order": []}})).keys() == {
        "model",
        "messages",
    }


def test_usage_is_always_asked_for_and_other_stream_options_stay() -> None:
    body = {"model": "m", "messages": [], "stream": True, "stream_options": {"include_obfuscation": False}}
    assert sent(call(body))["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert sent(call({**body, "stream_options": None}))["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("asked", [{}, {"max_tokens": 50}, {"max_completion_tokens": 50}])
def test_a_cap_goes_out_under_the_name_that_the_model_knows(asked: dict[str, int]) -> None:
    body = {"model": "m", "messages": [], **asked}
    assert sent(call(body, cap=20))["max_tokens"] == 20
    reasoning = sent(call(body, "openai/gpt-5", cap=20))
    assert reasoning["max_completion_tokens"] == 20
    assert "max_tokens" not in reasoning


def test_extensions_that_a_model_does_not_know_are_left_out() -> None:
    body = {"model": "m", "messages": [], "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "verbosity": "low"}
    assert sent(call(body)).keys() == {"model", "messages"}
    assert sent(call(body, "openai/gpt-5")).keys() == {"model", "messages", "verbosity"}


def test_options_of_the_deployment_change_path_and_headers() -> None:
    request = ADAPTER.request(call({"model": "m", "messages": []}, path="/v2/chat", **{"header.OpenAI-Project": "p"}))
    assert request.url == "https://host/v1/v2/chat"
    assert request.headers["openai-project"] == "p"


def chunk(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"id": "up-1", **fields}, ensure_ascii=False).encode() + b"\n\n"


STREAM = b"".join(
    [
        b": keep-alive\n\n",
        chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]),
        chunk(choices=[{"index": 0, "delta": {"content": "안녕 "}}], system_fingerprint="fp"),
        chunk(choices=[{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}}]),
        b"data: {broken\n\n",
        chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=None),
        chunk(
            choices=[],
            usage={
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
        ),
        b"data: [DONE]\n\n",
    ]
)


def read(raw: list[bytes], stream: bool = True, model: str = "openai/gpt-4o", **fields: object) -> list[Event]:
    reader = ADAPTER.reader(call({"model": "m", "messages": [], "stream": stream, **fields}, model))
    events = [event for piece in raw for event in reader.feed(piece)]
    return [*events, *reader.end()]


def test_a_stream_becomes_its_events() -> None:
    events = read([STREAM])
    assert [type(event) for event in events] == [UpstreamId, Delta, Extra, Delta, Delta, Warned, Delta, Usage, Done]
    assert events[7] == Usage(Tokens(prompt=10, completion=5, cached=4, reasoning=3))
    assert [event.content for event in events if isinstance(event, Delta)] == [False, True, True, False]


@given(st.lists(st.integers(0, len(STREAM))))
def test_any_split_of_a_stream_gives_the_same_events(cuts: list[int]) -> None:
    places = sorted({0, len(STREAM), *cuts})
    assert read([STREAM[a:b] for a, b in itertools.pairwise(places)]) == read([STREAM])


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (STREAM[: STREAM.index(b'"finish_reason": "stop"')], "cut"),
        (b"data: [DONE]\n\n", "cut"),
        (b"", "cut"),
        (b'data: {"error":{"message":"overloaded","type":"overloaded_error"}}\n\n', "overloaded"),
        (b'data: {"error":"exploded"}\n\n', "server"),
    ],
)
def test_a_stream_that_goes_wrong_never_looks_complete(raw: bytes, kind: str) -> None:
    last = read([raw])[-1]
    assert isinstance(last, Failed)
    assert last.failure.kind == kind


def test_a_finished_stream_without_its_last_word_is_complete() -> None:
    assert read([STREAM.removesuffix(b"data: [DONE]\n\n")])[-1] == Done()


OPEN = [chunk(choices=[{"index": i, "delta": {"content": "x"}, "finish_reason": None}]) for i in (0, 1)]
ENDED = [chunk(choices=[{"index": i, "delta": {}, "finish_reason": "stop"}]) for i in (0, 1)]


@pytest.mark.parametrize(
    ("raw", "complete"),
    [
        (OPEN[0] + OPEN[1] + ENDED[0], False),
        (OPEN[0] + OPEN[1] + ENDED[0] + b"data: [DONE]\n\n", False),
        (OPEN[0] + ENDED[0], False),
        (OPEN[0] + ENDED[0] + b"data: [DONE]\n\n", True),
        (OPEN[0] + ENDED[0] + OPEN[1] + ENDED[1], True),
    ],
    ids=["second-open", "second-open-done", "second-not-begun", "one-is-all-it-gives", "both"],
)
def test_several_choices_are_complete_when_all_of_them_have_ended(raw: bytes, complete: bool) -> None:
    last = read([raw], n=2)[-1]
    assert last == Done() if complete else isinstance(last, Failed) and last.failure.kind == "cut"


def test_a_whole_answer_keeps_every_field() -> None:
    raw = b'\n \n{"id":"up-1","choices":[{"index":0,"message":{"content":"x"}}],"usage":null,"citations":["u"]}'
    events = read([raw[:9], raw[9:]], stream=False)
    assert [type(event) for event in events] == [UpstreamId, Whole, Done]
    whole = events[1]
    assert isinstance(whole, Whole)
    assert json.loads(msgspec.json.encode(whole.fields))["citations"] == ["u"]


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b'{"id":"x"}', b'{"choices":{}}', b'{"error":{"message":"m"}}'])
def test_a_whole_answer_that_is_none_fails(raw: bytes) -> None:
    assert isinstance(read([raw], stream=False)[-1], Failed)


def test_reasoning_that_a_provider_counts_apart_is_folded_in() -> None:
    model = next(m.id for m in builtin().models.values() if m.quirks.usage_as == "xai")
    usage = {"prompt_tokens": 1, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 7}}
    raw = json.dumps({"choices": [{"index": 0}], "usage": usage}).encode()
    assert Usage(Tokens(prompt=1, completion=12, reasoning=7)) in read([raw], stream=False, model=model)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "context_length_exceeded", "context_length"),
        (400, "content_filter", "content_policy"),
        (403, "content_policy_violation", "content_policy"),
        (400, None, "bad_request"),
        (422, None, "bad_request"),
        (401, "invalid_api_key", "credentials"),
        (402, None, "credentials"),
        (403, None, "credentials"),
        (404, "model_not_found", "not_found"),
        (408, None, "timeout"),
        (429, "insufficient_quota", "rate_limited"),
        (429, None, "rate_limited"),
        (500, None, "server"),
        (503, None, "overloaded"),
        (529, None, "overloaded"),
        (302, None, "server"),
    ],
)
def test_http_errors_are_told_apart(status: int, code: str | None, kind: str) -> None:
    body = json.dumps({"error": {"message": "why", "code": code}}).encode()
    failure = ADAPTER.failure(status, {"content-type": "application/json"}, body)
    assert (failure.kind, failure.status, failure.body, failure.message) == (kind, status, body, "why")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after": "2"}, 2.0), ({"retry-after-ms": "150"}, 0.15), ({"retry-after": "soon"}, None), ({}, None)],
)
def test_a_wish_to_wait_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert ADAPTER.failure(429, headers, b"").retry_after_s == seconds


def test_failures_about_the_request_are_not_retryable() -> None:
    kinds = {kind: ProviderFailure(kind=kind).retryable for kind in ("bad_request", "context_length", "content_policy")}
    assert set(kinds.values()) == {False}
