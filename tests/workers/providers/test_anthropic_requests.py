"""OpenAI's request, said in Anthropic's words: one test for each row of the mapping."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from pydantic import TypeAdapter

from tests.workers.providers.calls import ASK, TOOL, body, call, refused, sent
from workers.providers.anthropic import JSON_TOOL
from workers.providers.anthropic_messages import FORMAT

OLD, NEW = "anthropic/claude-3.5-haiku", "anthropic/claude-opus-4.5"
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "a",
        "schema": {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}},
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"서울"}'}}
THOUGHT = {"type": "reasoning.text", "text": "생각", "signature": "c2ln", "format": FORMAT, "index": 0}


def test_it_goes_to_the_messages_api_with_the_account_s_key() -> None:
    request = sent(call(NEW))
    assert request.url == "https://provider.test/v1/messages"
    assert (request.headers["x-api-key"], request.headers["anthropic-version"]) == ("sk-secret-0001", "2023-06-01")
    assert "authorization" not in request.headers


def test_system_and_developer_messages_become_system_blocks_and_keep_their_cache_control() -> None:
    cached = {"type": "text", "text": "긴 지침", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    made = body(NEW, messages=[{"role": "system", "content": [cached]}, {"role": "developer", "content": "d"}, *ASK])
    assert made["system"] == [cached, {"type": "text", "text": "d"}]
    assert made["messages"] == [{"role": "user", "content": [{"type": "text", "text": "안녕"}]}]


def test_images_come_as_base64_or_as_a_url() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,/9j/"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
    ]
    content = body(NEW, messages=[{"role": "user", "content": parts}])["messages"][0]["content"]
    assert content[0]["source"] == {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}
    assert content[1]["source"] == {"type": "url", "url": "https://example.com/a.png"}


@pytest.mark.parametrize("url", ["data:image/tiff;base64,AAAA", "data:image/png,plain", "data:image/png;base64,한글"])
def test_an_image_that_cannot_be_read_is_refused(url: str) -> None:
    error = refused(NEW, messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])
    assert error["param"] == "messages"


def test_parallel_tool_results_are_merged_into_one_message_before_what_the_user_says() -> None:
    second = {**CALL, "id": "call_2", "function": {"name": "weather", "arguments": ""}}
    made = body(
        NEW,
        tools=[TOOL],
        messages=[
            *ASK,
            {"role": "assistant", "content": None, "tool_calls": [CALL, second]},
            {"role": "tool", "tool_call_id": "call_1", "content": "맑음"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "비"}]},
            {"role": "user", "content": "그래서?"},
        ],
    )["messages"]
    assert [block.get("input") for block in made[1]["content"]] == [{"city": "서울"}, {}]
    assert [block["type"] for block in made[2]["content"]] == ["tool_result", "tool_result", "text"]
    assert [block["tool_use_id"] for block in made[2]["content"][:2]] == ["call_1", "call_2"]
    assert len(made) == 3


def test_texts_of_blanks_alone_are_left_out() -> None:
    made = body(
        NEW,
        tools=[TOOL],
        messages=[
            {"role": "system", "content": "\n"},
            *ASK,
            {"role": "assistant", "content": "\n\n", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": " "},
            {"role": "user", "content": [{"type": "text", "text": " "}, {"type": "text", "text": "그래서? "}]},
        ],
    )
    assert "system" not in made
    assert [block["type"] for block in made["messages"][1]["content"]] == ["tool_use"]
    result, said = made["messages"][2]["content"]
    assert "content" not in result
    assert said == {"type": "text", "text": "그래서? "}
    assert refused(NEW, messages=[{"role": "user", "content": " "}])["param"] == "messages"


def test_max_tokens_is_required_so_the_model_s_own_maximum_is_sent() -> None:
    assert body(OLD)["max_tokens"] == 8192
    assert body(OLD, max_completion_tokens=5)["max_tokens"] == 5
    assert body(OLD, max_tokens=5, cap=3)["max_tokens"] == 3


def test_stop_sequences_lose_those_of_blanks_alone() -> None:
    assert body(NEW, stop=["END", "\n", " "])["stop_sequences"] == ["END"]
    assert "stop_sequences" not in body(NEW, stop="\n\n")


def test_user_becomes_metadata() -> None:
    assert body(NEW, user="u-1")["metadata"] == {"user_id": "u-1"}


@pytest.mark.parametrize(
    ("choice", "parallel", "becomes"),
    [
        ("auto", None, {"type": "auto"}),
        ("required", None, {"type": "any"}),
        ("none", False, {"type": "none"}),
        ({"type": "function", "function": {"name": "weather"}}, None, {"type": "tool", "name": "weather"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        (None, True, None),
    ],
)
def test_tool_choice(choice: Any, parallel: bool | None, becomes: Any) -> None:
    assert body(NEW, tools=[TOOL], tool_choice=choice, parallel_tool_calls=parallel).get("tool_choice") == becomes


def test_a_tool_without_parameters_is_an_empty_object() -> None:
    made = body(NEW, tools=[{"type": "function", "function": {"name": "now"}}])
    assert made["tools"] == [{"name": "now", "input_schema": {"type": "object", "properties": {}}}]


def test_temperature_ends_at_one_and_newer_models_take_it_or_top_p() -> None:
    assert body(OLD, temperature=1.7, top_p=0.5)["temperature"] == 1
    assert "top_p" in body(OLD, temperature=1.7, top_p=0.5)
    assert "top_p" not in body(NEW, temperature=0.2, top_p=0.5)


def test_a_schema_becomes_the_output_format_within_anthropic_s_limits() -> None:
    made = body(NEW, response_format=SCHEMA)["output_config"]["format"]
    age = {"type": "integer", "description": '{"minimum": 0}'}
    schema = {"type": "object", "properties": {"age": age}, "additionalProperties": False}
    assert made == {"type": "json_schema", "schema": schema}


def test_older_models_keep_to_a_schema_by_a_tool() -> None:
    made = body(OLD, response_format=SCHEMA)
    assert made["tools"][0]["name"] == JSON_TOOL
    assert made["tool_choice"] == {"type": "tool", "name": JSON_TOOL}


def test_a_schema_beside_tools_is_told_in_words_to_older_models() -> None:
    made = body(OLD, response_format=SCHEMA, tools=[TOOL])
    assert '"minimum":0' in made["system"][-1]["text"] and len(made["tools"]) == 1


def test_an_effort_becomes_a_thinking_budget_that_leaves_room_for_the_answer() -> None:
    assert body(NEW, reasoning_effort="medium")["thinking"] == {"type": "enabled", "budget_tokens": 8192}
    assert body(NEW, reasoning_effort="high", max_tokens=4096)["thinking"]["budget_tokens"] == 3072
    assert "thinking" not in body(NEW, reasoning_effort="high", max_tokens=1024)
    assert "thinking" not in body(NEW)


def test_thinking_takes_no_sampling_parameters() -> None:
    made = body(NEW, reasoning_effort="low", temperature=0.1, top_k=5)
    assert "thinking" in made and not {"temperature", "top_k"} & made.keys()


def test_thinking_is_left_out_where_anthropic_refuses_it() -> None:
    forced = body(NEW, reasoning_effort="low", tools=[TOOL], tool_choice="required")
    prefilled = body(NEW, reasoning_effort="low", messages=[*ASK, {"role": "assistant", "content": "네, "}])
    assert "thinking" not in forced and "thinking" not in prefilled
    assert prefilled["messages"][-1]["content"] == [{"type": "text", "text": "네,"}]


def test_signed_thoughts_go_back_with_tool_results_and_without_them_thinking_stays_off() -> None:
    result = {"role": "tool", "tool_call_id": "call_1", "content": "맑음"}
    turn = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    thoughtful = [*ASK, {**turn, "reasoning_details": [THOUGHT]}, result]
    made = body(NEW, reasoning_effort="low", tools=[TOOL], messages=thoughtful)
    assert "thinking" in made
    assert made["messages"][1]["content"][0] == {"type": "thinking", "thinking": "생각", "signature": "c2ln"}
    assert "thinking" not in body(NEW, reasoning_effort="low", tools=[TOOL], messages=[*ASK, turn, result])
    plain = body(OLD, tools=[TOOL], messages=thoughtful)
    assert [block["type"] for block in plain["messages"][1]["content"]] == ["tool_use"]


def test_only_long_inputs_ask_for_the_long_context() -> None:
    model = "anthropic/claude-sonnet-4.5"
    assert "anthropic-beta" not in sent(call(model)).headers
    long = sent(call(model, messages=[{"role": "user", "content": "x" * 200_001}]))
    assert long.headers["anthropic-beta"] == "context-1m-2025-08-07"


def test_a_conversation_that_begins_with_the_assistant_or_has_only_a_system_message_is_made_acceptable() -> None:
    greeted = body(NEW, messages=[{"role": "assistant", "content": "어서 오세요"}, *ASK])["messages"]
    assert [message["role"] for message in greeted] == ["user", "assistant", "user"]
    alone = body(NEW, messages=[{"role": "system", "content": "s"}])
    assert alone["messages"][0]["role"] == "user" and "system" not in alone


def test_what_anthropic_does_not_have_is_refused_or_left_out_with_a_warning() -> None:
    assert refused(NEW, n=2)["param"] == "n"
    assert "n must be 1" in refused(NEW, n=2)["message"]
    assert refused(NEW, tools=[{"type": "custom", "custom": {"name": "x"}}])["param"] == "tools"
    made = body(NEW, n=1, seed=3, logprobs=True, frequency_penalty=1, logit_bias={"1": 2}, unheard_of=True)
    assert made.keys() == {"model", "max_tokens", "messages", "stream"}


def _exhaust(value: Any) -> None:
    """Pydantic checks iterables as they are read."""
    if isinstance(value, dict):
        for inner in value.values():
            _exhaust(inner)
    elif not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        for inner in value:
            _exhaust(inner)


# The newest SDK is typed for the newest models, which sample without them; all models of the catalogue take them.
OLDER_MODELS_ONLY = {"temperature", "top_p", "top_k"}
EVERYTHING: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]},
        {"role": "assistant", "content": "t", "tool_calls": [CALL], "reasoning_details": [THOUGHT]},
        {"role": "tool", "tool_call_id": "call_1", "content": "맑음"},
    ],
    "tools": [TOOL],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "stop": ["END"],
    "user": "u",
    "temperature": 0.4,
    "top_k": 4,
}


@pytest.mark.parametrize("model", [OLD, NEW, "anthropic/claude-sonnet-4"])
@pytest.mark.parametrize("more", [{}, {"reasoning_effort": "low"}, {"response_format": SCHEMA}])
@pytest.mark.parametrize("stream", [True, False])
def test_the_official_sdk_s_types_accept_what_is_sent(model: str, more: dict[str, Any], stream: bool) -> None:
    made = body(model, stream=stream, **EVERYTHING, **more)
    kind: Any = MessageCreateParamsStreaming if stream else MessageCreateParamsNonStreaming
    assert made.keys() - OLDER_MODELS_ONLY <= kind.__required_keys__ | kind.__optional_keys__
    types = TypeAdapter(kind)  # has to outlive the lazy iterators that it makes
    _exhaust(types.validate_python({**made, "stream": stream}))
