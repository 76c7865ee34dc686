"""Anthropic's answers as OpenAI's, streamed and not, and what they cost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.wire.event import Tokens
from tests.provider.dialects.anthropic import SIGNATURE, prompt_tokens
from tests.provider.dialects.openai import answer_text, token_text
from tests.workers.providers.calls import (
    TOOL,
    adapter_of,
    answered,
    body,
    call,
    failure,
    message,
    plan,
    raw,
    read,
    tokens,
    warnings,
)
from workers.providers.anthropic_answer import tokens_of
from workers.providers.anthropic_messages import FORMAT
from workers.providers.base import Delta, Done, UpstreamId

MODEL = "anthropic/claude-opus-4.5"
BOTH = pytest.mark.parametrize("stream", [True, False])


@BOTH
def test_text_finish_usage_and_id(stream: bool) -> None:
    made = call(MODEL, stream=stream)
    events = answered(made, "tokens=5")
    choice = message(events)
    assert (choice["message"]["content"], choice["finish_reason"]) == (answer_text(5), "stop")
    assert tokens(events) == Tokens(prompt=prompt_tokens(body(MODEL)), completion=5)
    assert any(isinstance(event, UpstreamId) and event.id.startswith("msg_") for event in events)


def test_the_first_delta_carries_the_role_and_each_text_is_its_own_delta() -> None:
    deltas = [event for event in answered(call(MODEL), "tokens=2") if isinstance(event, Delta)]
    assert deltas[0].delta == {"role": "assistant", "content": ""} and not deltas[0].content
    assert [event.delta.get("content") for event in deltas[1:]] == [token_text(0), token_text(1), None]


@BOTH
def test_parallel_tools_have_indexes_of_their_own(stream: bool) -> None:
    made = call(MODEL, stream=stream, tools=[TOOL])
    choice = message(answered(made, "tool=weather calls=2 think=2"))
    calls = choice["message"]["tool_calls"]
    assert [json.loads(each["function"]["arguments"]) for each in calls] == [{"echo": "안녕"}] * 2
    assert len({each["id"] for each in calls}) == 2
    assert choice["finish_reason"] == "tool_calls"


@BOTH
def test_a_tool_without_arguments_has_an_empty_object(stream: bool) -> None:
    choice = message(answered(call(MODEL, stream=stream, tools=[TOOL]), "tool=weather noargs=1"))
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": "{}"}


@BOTH
def test_thinking_is_reasoning_content_and_its_signature_goes_back(stream: bool) -> None:
    events = answered(call(MODEL, stream=stream, reasoning_effort="low"), "think=2 tokens=1")
    said = message(events)["message"]
    assert said["reasoning_content"] == "t0 t1 "
    (detail,) = said["reasoning_details"]
    assert (detail["text"], detail["signature"], detail["format"]) == ("t0 t1 ", SIGNATURE, FORMAT)
    assert tokens(events).reasoning == 2 and tokens(events).completion == 3


@BOTH
def test_the_answer_of_the_schema_tool_is_content(stream: bool) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    choice = message(answered(call("anthropic/claude-3-haiku", stream=stream, response_format=wanted)))
    assert json.loads(choice["message"]["content"]) == {"echo": "안녕"}
    assert choice["finish_reason"] == "stop" and "tool_calls" not in choice["message"]


@BOTH
@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("refusal", "content_filter"),
        ("something_new", "length"),
    ],
)
def test_finish_reasons(reason: str, finish: str, stream: bool) -> None:
    assert message(answered(call(MODEL, stream=stream), f"tokens=1 finish={reason}"))["finish_reason"] == finish


@BOTH
def test_cache_reads_and_both_kinds_of_writes_are_part_of_the_prompt(stream: bool) -> None:
    made = call(MODEL, stream=stream, messages=[{"role": "user", "content": "x" * 400}])
    used = tokens(answered(made, "cached=40 cache_write=20 cache_write_1h=10 searches=2"))
    assert (used.cached, used.cache_write_5m, used.cache_write_1h, used.search) == (40, 20, 10, 2)
    assert used.prompt == 3 + 4 + 100


@pytest.mark.parametrize(
    ("usage", "becomes"),
    [
        ({"input_tokens": 5, "output_tokens": 2, "cache_creation_input_tokens": 3}, Tokens(8, 2, cache_write_5m=3)),
        ({"input_tokens": 5, "output_tokens": None, "cache_read_input_tokens": -1}, Tokens(5, 0)),
        (
            {"input_tokens": 1, "output_tokens": 2, "output_tokens_details": {"thinking_tokens": 9}},
            Tokens(1, 2, reasoning=2),
        ),
        (
            {"cache_creation_input_tokens": 2, "cache_creation": {"ephemeral_1h_input_tokens": 5}},
            Tokens(2, 0, cache_write_1h=2),
        ),
        ({}, Tokens()),
    ],
)
def test_no_part_of_the_usage_is_larger_than_its_whole(usage: dict[str, Any], becomes: Tokens) -> None:
    assert tokens_of(usage) == becomes


def test_a_stream_that_ends_early_was_cut_and_one_that_told_why_it_ended_is_complete() -> None:
    made = call(MODEL)
    answer = plan(made, "tokens=3")
    assert failure(read(made, answer.head + answer.piece(0) + answer.piece(1))).kind == "cut"
    assert isinstance(read(made, raw(answer).removesuffix(answer.last))[-1], Done)
    assert failure(read(made, answer.head + answer.last)).kind == "cut"


def test_an_error_in_the_stream_ends_it_and_an_unreadable_event_is_told() -> None:
    made = call(MODEL)
    answer = plan(made, "tokens=2")
    broken = failure(read(made, answer.head + answer.piece(0) + answer.error_event + answer.piece(1)))
    assert (broken.kind, broken.status, broken.message) == ("overloaded", 200, "Overloaded")
    events = read(made, answer.head + answer.unreadable + raw(answer).removeprefix(answer.head))
    assert warnings(events) == ["unreadable_event"] and message(events)["message"]["content"] == answer_text(2)


def test_what_was_left_out_of_the_request_is_told_once() -> None:
    assert warnings(answered(call(MODEL, seed=1))) == ["parameter_ignored"]


@pytest.mark.parametrize(
    ("behaviour", "kind", "status"),
    [
        ("refuse=context", "context_length", 400),
        ("refuse=policy", "content_policy", 400),
        ("refuse=key", "credentials", 401),
        ("refuse=balance", "credentials", 400),
        ("refuse=overloaded", "overloaded", 529),
        ("error=400", "bad_request", 400),
        ("error=402", "credentials", 402),
        ("error=403", "credentials", 403),
        ("error=404", "not_found", 404),
        ("error=413", "bad_request", 413),
        ("error=429", "rate_limited", 429),
        ("error=500", "server", 500),
        ("error=504", "timeout", 504),
    ],
)
def test_errors_are_classified_and_kept_as_they_came(behaviour: str, kind: str, status: int) -> None:
    made = call(MODEL)
    answer = plan(made, behaviour)
    found = adapter_of(made).failure(answer.status, {"retry-after": "7"}, answer.body)
    assert (found.kind, found.status, found.retry_after_s, found.body) == (kind, status, 7, answer.body)


def test_an_error_page_that_is_not_json_is_still_an_error() -> None:
    assert adapter_of(call(MODEL)).failure(502, {}, b"<html>bad gateway").kind == "server"
    assert failure(read(call(MODEL, stream=False), b"<html>")).kind == "unreadable"
