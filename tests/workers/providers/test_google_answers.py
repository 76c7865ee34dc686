"""Gemini's answers as OpenAI's, streamed and not, and what they cost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.wire.event import Tokens
from tests.provider.dialects.google import PICTURE, PICTURE_TOKENS, SIGNATURE, prompt_tokens
from tests.provider.dialects.openai import answer_text, token_text
from tests.workers.providers.calls import (
    ASK,
    TOOL,
    adapter_of,
    answered,
    body,
    call,
    choices,
    failure,
    message,
    plan,
    raw,
    read,
    tokens,
    warnings,
)
from workers.providers.base import Delta, Done, UpstreamId
from workers.providers.google_answer import tokens_of

MODEL, DRAWS = "google/gemini-2.5-flash", "google/gemini-2.5-flash-image"
BOTH = pytest.mark.parametrize("stream", [True, False])


@BOTH
def test_text_thoughts_finish_usage_and_id(stream: bool) -> None:
    events = answered(call(MODEL, stream=stream), "tokens=5 think=3")
    choice = message(events)
    assert choice["message"]["content"] == answer_text(5)
    assert choice["message"]["reasoning_content"] == "t0 t1 t2 "
    assert choice["finish_reason"] == "stop"
    assert tokens(events) == Tokens(prompt=prompt_tokens(body(MODEL)), completion=8, reasoning=3)
    assert any(isinstance(event, UpstreamId) and event.id.startswith("gemini-mock") for event in events)


@BOTH
def test_several_choices(stream: bool) -> None:
    found = choices(answered(call(MODEL, stream=stream, n=2), "tokens=3"))
    assert [choice["message"]["content"] for choice in found] == [answer_text(3)] * 2


@BOTH
def test_any_function_call_finishes_with_tool_calls(stream: bool) -> None:
    choice = message(answered(call(MODEL, stream=stream, tools=[TOOL]), "tool=weather calls=2"))
    calls = choice["message"]["tool_calls"]
    assert [json.loads(each["function"]["arguments"]) for each in calls] == [{"echo": "안녕"}] * 2
    assert len({each["id"] for each in calls}) == 2 and choice["finish_reason"] == "tool_calls"
    bare = message(answered(call(MODEL, stream=stream, tools=[TOOL]), "tool=weather noargs=1"))
    assert bare["message"]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_the_ids_of_two_turns_differ() -> None:
    made = call(MODEL, tools=[TOOL])
    ids = {message(answered(made, "tool=weather"))["message"]["tool_calls"][0]["id"] for _ in range(2)}
    assert len(ids) == 2


@BOTH
def test_pictures_and_their_tokens(stream: bool) -> None:
    events = answered(call(DRAWS, stream=stream), "tokens=2 images=1")
    said = message(events)["message"]
    (image,) = said["images"]
    assert image["type"] == "image_url" and image["image_url"] == {"url": f"data:image/png;base64,{PICTURE}"}
    assert image["extra_content"] == {"google": {"thought_signature": SIGNATURE}}
    assert said["content"] == answer_text(2)
    used = tokens(events)
    assert (used.image, used.completion) == (PICTURE_TOKENS, PICTURE_TOKENS + 2)


@BOTH
def test_logprobs_have_openai_s_shape(stream: bool) -> None:
    choice = message(answered(call(MODEL, stream=stream, logprobs=True, top_logprobs=1), "tokens=2"))
    token = token_text(0)
    one = {"token": token, "logprob": -0.5, "bytes": list(token.encode())}
    assert choice["logprobs"]["content"][0] == {**one, "top_logprobs": [one]}
    assert len(choice["logprobs"]["content"]) == 2


@BOTH
@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("SOMETHING_NEW", "content_filter"),
    ],
)
def test_finish_reasons(reason: str, finish: str, stream: bool) -> None:
    assert message(answered(call(MODEL, stream=stream), f"tokens=1 finish={reason}"))["finish_reason"] == finish


@BOTH
@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"])
def test_a_call_that_google_could_not_read_is_a_failure_that_may_be_tried_again(reason: str, stream: bool) -> None:
    found = failure(answered(call(MODEL, stream=stream), f"tokens=1 finish={reason}"))
    assert found.kind == "unreadable" and found.retryable


@BOTH
def test_a_blocked_prompt_is_an_empty_answer_with_content_filter(stream: bool) -> None:
    events = answered(call(MODEL, stream=stream), "block=1")
    choice = message(events)
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "content_filter")
    assert tokens(events).completion == 0


@pytest.mark.parametrize(
    ("usage", "becomes"),
    [
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 7, "totalTokenCount": 22},
            Tokens(10, 12, reasoning=7),
        ),
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 12, "thoughtsTokenCount": 7, "totalTokenCount": 22},
            Tokens(10, 12, reasoning=7),
        ),
        (
            {
                "promptTokenCount": 10,
                "toolUsePromptTokenCount": 4,
                "candidatesTokenCount": 5,
                "thoughtsTokenCount": 1,
                "totalTokenCount": 20,
                "cachedContentTokenCount": 99,
            },
            Tokens(14, 6, cached=14, reasoning=1),
        ),
        (
            {
                "promptTokenCount": 1,
                "candidatesTokenCount": 3,
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 9}, {"modality": "TEXT"}],
            },
            Tokens(1, 3, image=3),
        ),
        ({"promptTokenCount": "x"}, Tokens()),
    ],
)
def test_thoughts_are_added_once_and_no_part_is_larger_than_its_whole(usage: dict[str, Any], becomes: Tokens) -> None:
    assert tokens_of(usage) == becomes


def test_a_stream_without_a_finish_reason_was_cut() -> None:
    made = call(MODEL)
    answer = plan(made, "tokens=3")
    assert failure(read(made, answer.piece(0))).kind == "cut"
    assert isinstance(read(made, raw(answer))[-1], Done)
    two = plan(call(MODEL, n=2), "tokens=1")
    ends = two.tail.split(b"\r\n\r\n")
    assert failure(read(call(MODEL, n=2), two.piece(0) + two.piece(1) + ends[0] + b"\r\n\r\n")).kind == "cut"


def test_an_error_in_the_stream_ends_it_and_an_unreadable_chunk_is_told() -> None:
    made = call(MODEL)
    answer = plan(made, "tokens=2")
    broken = failure(read(made, answer.piece(0) + answer.error_event))
    assert (broken.kind, broken.status) == ("overloaded", 200)
    events = read(made, answer.unreadable + raw(answer))
    assert warnings(events) == ["unreadable_event"] and message(events)["message"]["content"] == answer_text(2)


def test_what_was_used_is_known_before_the_end() -> None:
    events = answered(call(MODEL), "tokens=2")
    last = max(place for place, event in enumerate(events) if isinstance(event, Delta) and event.content)
    assert tokens(events[:last]).completion == 2


@pytest.mark.parametrize(
    ("behaviour", "kind", "status"),
    [
        ("refuse=context", "context_length", 400),
        ("refuse=policy", "bad_request", 400),
        ("refuse=key", "credentials", 400),
        ("refuse=balance", "credentials", 403),
        ("refuse=overloaded", "overloaded", 503),
        ("error=400", "bad_request", 400),
        ("error=401", "credentials", 401),
        ("error=404", "not_found", 404),
        ("error=500", "server", 500),
        ("error=504", "timeout", 504),
    ],
)
def test_errors_are_classified_and_kept_as_they_came(behaviour: str, kind: str, status: int) -> None:
    made = call(MODEL)
    answer = plan(made, behaviour)
    found = adapter_of(made).failure(answer.status, {}, answer.body)
    assert (found.kind, found.status, found.body) == (kind, status, answer.body)


def test_the_wait_is_read_from_retry_info() -> None:
    made = call(MODEL)
    answer = plan(made, "error=429 retry_after=3.5")
    found = adapter_of(made).failure(429, {}, answer.body)
    assert (found.kind, found.retry_after_s) == ("rate_limited", 3.5)
    listed = adapter_of(made).failure(429, {}, b"[" + answer.body + b"]")
    assert listed.retry_after_s == 3.5


def test_the_prompt_of_the_mock_counts_what_the_adapter_sent() -> None:
    assert (
        prompt_tokens(body(MODEL, messages=[{"role": "system", "content": "s"}, *ASK], tools=[TOOL])) == 3 + 16 + 5 + 6
    )
