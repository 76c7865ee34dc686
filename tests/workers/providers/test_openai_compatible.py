"""What differs between the OpenAI-compatible providers, one test for each difference."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from gateway.wire.event import Tokens
from tests.workers.providers.calls import (
    ASK,
    TOOL,
    adapter_of,
    body,
    call,
    choices,
    failure,
    message,
    read,
    refused,
    sent,
    tokens,
    warnings,
)
from workers.providers.anthropic_messages import FORMAT
from workers.providers.base import Extra

GPT, GPT5, O3 = "openai/gpt-4o", "openai/gpt-5", "openai/o3"
GROK, DEEPSEEK, SONAR = "x-ai/grok-4", "deepseek/deepseek-v3.2", "perplexity/sonar-pro"
GLM, KIMI, MINIMAX = "z-ai/glm-4.6", "moonshotai/kimi-k2-thinking", "minimax/minimax-m2"
QWEN, SOLAR, EXAONE = "qwen/qwen3-coder", "upstage/solar-pro-2", "lgai/exaone-4.0.1-32b"
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "title": "나이"}}}
BOTH = pytest.mark.parametrize("stream", [True, False])


def answer(model: str, *deltas: dict[str, Any], finish: str = "stop", stream: bool = True, **more: Any) -> Any:
    """The events of an answer made of these deltas, or of one whole message."""
    made = call(model, stream=stream, tools=more.pop("tools", None))
    if not stream:
        assert len(deltas) == 1
        choice = {"index": 0, "message": {"role": "assistant", **deltas[0]}, "finish_reason": finish}
        return read(made, json.dumps({"id": "x", "choices": [choice], **more}).encode())
    chunks = [{"id": "x", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}], **more})
    return read(
        made, b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    )


# ---------------------------------------------------------------- OpenAI's reasoning models


@pytest.mark.parametrize("model", [O3, GPT5])
def test_reasoning_models_lose_sampling_and_take_the_cap_by_its_newer_name(model: str) -> None:
    made = body(model, temperature=0.2, top_p=0.5, frequency_penalty=1, presence_penalty=1, logprobs=True, max_tokens=9)
    assert made.keys() == {"model", "messages", "max_completion_tokens", "stream", "stream_options"}
    assert made["max_completion_tokens"] == 9


def test_gpt_5_takes_effort_and_verbosity_and_others_lose_them(caplog: pytest.LogCaptureFixture) -> None:
    made = body(GPT5, reasoning_effort="minimal", verbosity="low")
    assert (made["reasoning_effort"], made["verbosity"]) == ("minimal", "low")
    assert body("openai/gpt-5.1", reasoning_effort="minimal")["reasoning_effort"] == "none"
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert not {"verbosity", "reasoning_effort"} & body(GPT5, reasoning_effort="huge", verbosity=3).keys()
        assert not {"verbosity", "reasoning_effort"} & body(GPT, reasoning_effort="low", verbosity="low").keys()
    assert [record.message for record in caplog.records] == ["parameter_removed"] * 2


def test_extensions_that_a_model_does_not_have_vanish_and_unknown_fields_pass() -> None:
    made = body(GPT, top_k=3, min_p=0.1, repetition_penalty=1.1, models=["x"], provider={"only": []}, web=1, seed=None)
    assert made.keys() == {"model", "messages", "web", "stream", "stream_options"}


def test_system_messages_have_the_role_that_the_model_knows() -> None:
    asked = [{"role": "system", "content": "s"}, {"role": "developer", "content": "d"}, *ASK]
    roles = {
        model: [message["role"] for message in body(model, messages=asked)["messages"]]
        for model in (GPT, O3, "openai/o1-mini")
    }
    assert roles[GPT] == ["system", "system", "user"]
    assert roles[O3] == ["developer", "developer", "user"]
    assert roles["openai/o1-mini"] == ["user", "user", "user"]


def test_tools_and_several_choices_are_refused_where_the_model_has_none() -> None:
    assert refused("openai/o1-mini", tools=[TOOL])["param"] == "tools"
    assert refused(DEEPSEEK, n=2)["param"] == "n"
    assert "tools" not in body("openai/o1-mini", tools=[TOOL], tool_choice="none")


def test_what_changes_the_answer_is_left_out_with_a_warning() -> None:
    made = call(O3, stop=["x"], messages=ASK)
    assert "stop" not in json.loads(sent(made).content)
    assert warnings(read(made, b"data: [DONE]\n\n")) == ["parameter_ignored"]


def test_pictures_reasoning_and_signatures_of_earlier_answers_stay_with_us() -> None:
    said = {"role": "assistant", "content": "a", "reasoning_content": "r", "reasoning_details": [{}], "images": []}
    cached = {"role": "user", "content": [{"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}]}
    made = body(GPT, messages=[*ASK, said, cached])["messages"]
    assert made[1:] == [
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "t"}]},
    ]


# ---------------------------------------------------------------- xAI


@BOTH
def test_xai_counts_reasoning_beside_the_completion(stream: bool) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 7}}
    assert tokens(answer(GROK, {"content": "a"}, stream=stream, usage=usage)) == Tokens(5, 9, reasoning=7)


def test_xai_leaves_the_index_of_tool_calls_out() -> None:
    first = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    events = answer(
        GROK, {"tool_calls": [first]}, {"tool_calls": [{**first, "id": "b"}]}, finish="tool_calls", tools=[TOOL]
    )
    calls = message(events)["message"]["tool_calls"]
    assert [(each["id"], each["function"]["arguments"]) for each in calls] == [("a", "{}"), ("b", "{}")]


def test_pieces_of_arguments_without_an_index_belong_to_the_last_call() -> None:
    first = {"id": "a", "function": {"name": "weather", "arguments": '{"c'}}
    rest = {"function": {"arguments": 'ity":1}'}}
    events = answer(GROK, {"tool_calls": [first]}, {"tool_calls": [rest]}, finish="tool_calls", tools=[TOOL])
    (one,) = message(events)["message"]["tool_calls"]
    assert one["function"]["arguments"] == '{"city":1}'


def test_xai_s_empty_finish_reason_is_none() -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": ""}]}
    events = read(call(GROK), b"data: " + json.dumps(chunk).encode() + b"\n\n")
    assert failure(events).kind == "cut"


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, "This model's maximum prompt length is 131072 but the request contains 200000.", "context_length"),
        (400, "Incorrect API key provided: xa***yz.", "credentials"),
        (403, "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO", "content_policy"),
        (422, "Failed to deserialize the JSON body", "bad_request"),
    ],
)
def test_xai_s_errors_are_strings(status: int, error: str, kind: str) -> None:
    raw = json.dumps({"code": "Some words", "error": error}).encode()
    found = adapter_of(call(GROK)).failure(status, {}, raw)
    assert (found.kind, found.message, found.body) == (kind, error, raw)


# ---------------------------------------------------------------- DeepSeek


@BOTH
def test_deepseek_s_cache_hits(stream: bool) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5}
    assert tokens(answer(DEEPSEEK, {"content": "a"}, stream=stream, usage=usage)) == Tokens(9, 1, cached=4)


def test_deepseek_sends_comments_and_blank_lines_while_it_thinks() -> None:
    whole = {"id": "x", "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]}
    events = read(call(DEEPSEEK, stream=False), b"\n\n\n" + json.dumps(whole).encode())
    assert message(events)["message"]["content"] == "a"
    chunk = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}
    streamed = b": keep-alive\n\n: keep-alive\n\ndata: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n"
    assert message(read(call(DEEPSEEK), streamed))["message"]["content"] == "a"


def test_deepseek_gets_its_reasoning_back_and_effort_is_a_switch() -> None:
    said = {"role": "assistant", "content": None, "reasoning": "r", "tool_calls": [{"id": "a"}]}
    made = body(DEEPSEEK, messages=[*ASK, said], reasoning_effort="high")
    assert made["messages"][1] == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "r",
        "tool_calls": [{"id": "a"}],
    }
    assert made["thinking"] == {"type": "enabled"} and "reasoning_effort" not in made


@BOTH
@pytest.mark.parametrize(
    ("model", "reason", "kind"),
    [(DEEPSEEK, "insufficient_system_resource", "overloaded"), (GLM, "network_error", "server")],
)
def test_a_provider_that_gives_up_in_the_middle_has_failed(model: str, reason: str, kind: str, stream: bool) -> None:
    assert failure(answer(model, {"content": "a"}, finish=reason, stream=stream)).kind == kind


def test_a_schema_is_told_in_words_where_only_json_is_promised() -> None:
    made = body(DEEPSEEK, messages=[{"role": "system", "content": "s"}, *ASK], response_format=SCHEMA)
    assert made["response_format"] == {"type": "json_object"}
    assert made["messages"][0]["content"].startswith("s\n\n") and "나이" in made["messages"][0]["content"]
    assert body(GPT, response_format=SCHEMA)["response_format"] == SCHEMA


# ---------------------------------------------------------------- Perplexity


@BOTH
def test_perplexity_s_sources_and_searches(stream: bool) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "num_search_queries": 3, "reasoning_tokens": 900}
    more = {"citations": ["https://a"], "search_results": [{"title": "t"}], "usage": usage}
    events = answer(SONAR, {"content": "a"}, stream=stream, **more)
    assert tokens(events) == Tokens(5, 2, search=3)
    if stream:
        (extra,) = [event.fields for event in events if isinstance(event, Extra)]
        assert (extra["citations"], extra["search_results"]) == (["https://a"], [{"title": "t"}])


def test_the_path_can_be_another() -> None:
    made = call(SONAR)
    made.deployment.options["path"] = "/v2/sonar"
    assert sent(made).url == "https://provider.test/v2/sonar"


# ---------------------------------------------------------------- reasoning in other places


@BOTH
def test_think_tags_are_reasoning(stream: bool) -> None:
    model = "perplexity/sonar-reasoning"
    choice = message(answer(model, {"content": "<think>\n왜냐하면</think>\n\n답"}, stream=stream))
    assert (choice["message"]["reasoning_content"], choice["message"]["content"]) == ("왜냐하면", "답")


def test_think_tags_may_come_letter_by_letter() -> None:
    text = "\n<think>a < b, </b> and </think>\n\n답"
    said = message(answer("minimax/minimax-m1", *({"content": letter} for letter in text)))["message"]
    assert (said["reasoning_content"], said["content"]) == ("a < b, </b> and ", "답")


@pytest.mark.parametrize("text", ["<thin", "a <think>b</think>", "", "  ", "<think>never closed </thi"])
def test_no_text_is_lost_however_the_tags_are_broken(text: str) -> None:
    choice = message(answer("minimax/minimax-m1", *({"content": letter} for letter in text)))
    said = choice["message"]
    whole = (said.get("reasoning_content") or "") + (said.get("content") or "")
    assert whole == text.removeprefix("<think>")


@BOTH
def test_upstage_s_reasoning_becomes_reasoning_content(stream: bool) -> None:
    said = message(answer(SOLAR, {"reasoning": "r", "content": "a"}, stream=stream))["message"]
    assert (said["reasoning_content"], said["content"]) == ("r", "a") and "reasoning" not in said


@pytest.mark.parametrize("texts", [["The user", " asks"], ["The user", "The user asks"]], ids=["new", "all so far"])
def test_minimax_s_reasoning_details_in_both_ways_it_sends_them(texts: list[str]) -> None:
    deltas = [{"reasoning_details": [{"type": "reasoning.text", "text": text}]} for text in texts]
    said = message(answer(MINIMAX, *deltas, {"content": "a"}))["message"]
    assert said["reasoning_content"] == "The user asks" and "reasoning_details" not in said


def test_minimax_splits_reasoning_gets_it_back_and_takes_no_temperature_of_zero() -> None:
    said = {"role": "assistant", "content": "a", "reasoning_content": "r"}
    made = body(MINIMAX, messages=[*ASK, said], temperature=0, response_format={"type": "text"})
    assert made["messages"][1]["reasoning_details"] == [{"type": "reasoning.text", "text": "r"}]
    assert (made["reasoning_split"], made["temperature"]) == (True, 0.01)
    assert body(MINIMAX, temperature=1.8)["temperature"] == 1


def test_minimax_is_not_shown_what_anthropic_thought() -> None:
    details = [{"type": "reasoning.text", "text": "r", "signature": "s", "format": FORMAT}]
    said = {"role": "assistant", "content": "a", "reasoning_content": "r", "reasoning_details": details}
    made = body(MINIMAX, messages=[*ASK, said])["messages"][1]
    assert made["reasoning_details"] == [{"type": "reasoning.text", "text": "r"}]


@BOTH
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1000, "server"),
        (1001, "timeout"),
        (1002, "rate_limited"),
        (1004, "credentials"),
        (1008, "credentials"),
        (1024, "server"),
        (1026, "content_policy"),
        (1027, "content_policy"),
        (1039, "rate_limited"),
        (2013, "bad_request"),
        (2049, "credentials"),
        (7, "server"),
    ],
)
def test_minimax_s_errors_come_under_a_200(code: int, kind: str, stream: bool) -> None:
    raw = json.dumps({"id": "x", "choices": None, "base_resp": {"status_code": code, "status_msg": "m"}}).encode()
    events = read(call(MINIMAX, stream=stream), b"data: " + raw + b"\n\n" if stream else raw)
    assert (failure(events).kind, failure(events).message) == (kind, "m")


def test_minimax_says_in_words_that_the_context_is_too_long() -> None:
    told = {"status_code": 2013, "status_msg": "invalid params, context window exceeds limit"}
    raw = json.dumps({"id": "x", "choices": None, "base_resp": told}).encode()
    assert failure(read(call(MINIMAX, stream=False), raw)).kind == "context_length"


# ---------------------------------------------------------------- Z.AI, Moonshot, Qwen, FriendliAI


@BOTH
def test_z_ai_s_finish_reasons_and_switch(stream: bool) -> None:
    assert (
        choices(answer(GLM, {"content": "a"}, finish="sensitive", stream=stream))[0]["finish_reason"]
        == "content_filter"
    )
    assert body(GLM, reasoning_effort="none")["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("1113", "credentials"),
        ("1121", "credentials"),
        ("1302", "rate_limited"),
        ("1303", "rate_limited"),
        ("1305", "rate_limited"),
        ("1308", "rate_limited"),
        ("1312", "overloaded"),
        ("1301", "content_policy"),
        ("1261", "context_length"),
        ("1211", "not_found"),
        ("1234", "server"),
        ("1214", "bad_request"),
    ],
)
def test_z_ai_says_with_its_code_what_a_429_is(code: str, kind: str) -> None:
    raw = json.dumps({"error": {"code": code, "message": "m"}}).encode()
    assert adapter_of(call(GLM)).failure(429, {}, raw).kind == kind


@pytest.mark.parametrize(
    ("model", "status", "error", "kind"),
    [
        (KIMI, 429, {"type": "exceeded_current_quota_error", "message": "m"}, "credentials"),
        (KIMI, 429, {"type": "rate_limit_reached_error", "message": "m"}, "rate_limited"),
        (KIMI, 429, {"type": "engine_overloaded_error", "message": "m"}, "overloaded"),
        (KIMI, 400, {"type": "content_filter", "message": "considered high risk"}, "content_policy"),
        (KIMI, 400, {"type": "invalid_request_error", "message": "Input token length too long"}, "context_length"),
        (
            KIMI,
            400,
            {"type": "invalid_request_error", "message": "Your request exceeded model token limit: 9"},
            "context_length",
        ),
        (KIMI, 401, {"type": "invalid_authentication_error", "message": "m"}, "credentials"),
        (KIMI, 404, {"type": "resource_not_found_error", "message": "m"}, "not_found"),
        (QWEN, 400, {"code": "Arrearage", "message": "m"}, "credentials"),
        (QWEN, 400, {"code": "data_inspection_failed", "message": "m"}, "content_policy"),
        (
            QWEN,
            400,
            {"code": "invalid_parameter_error", "message": "Range of input length should be [1, 9]"},
            "context_length",
        ),
        (QWEN, 429, {"code": "limit_requests", "message": "m"}, "rate_limited"),
        (QWEN, 429, {"code": "insufficient_quota", "message": "m"}, "rate_limited"),
        (QWEN, 403, {"code": "access_denied", "message": "m"}, "credentials"),
        (GLM, 434, {"code": "1220", "message": "m"}, "credentials"),
    ],
)
def test_errors_as_moonshot_qwen_and_z_ai_document_them(
    model: str, status: int, error: dict[str, str], kind: str
) -> None:
    raw = json.dumps({"error": error}).encode()
    assert adapter_of(call(model)).failure(status, {}, raw).kind == kind


@pytest.mark.parametrize("where", [{"cached_tokens": 3}, {"prompt_tokens_details": {"cached_tokens": 3}}])
def test_moonshot_s_cached_tokens_in_both_places(where: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 1, **where}
    assert tokens(answer(KIMI, {"content": "a"}, usage=usage)) == Tokens(5, 1, cached=3)


def test_moonshot_s_reasoning_model_has_one_temperature() -> None:
    assert body(KIMI, temperature=0.2)["temperature"] == 1
    assert "temperature" not in body(KIMI)


def test_qwen_and_friendli_take_their_own_sampling_parameters() -> None:
    qwen = body(QWEN, top_k=5, repetition_penalty=1.1, min_p=0.1)
    assert (qwen["top_k"], qwen["repetition_penalty"]) == (5, 1.1) and "min_p" not in qwen
    exaone = body(EXAONE, top_k=5, min_p=0.1, reasoning_effort="low", chat_template_kwargs={"a": 1})
    assert (exaone["top_k"], exaone["min_p"], exaone["parse_reasoning"]) == (5, 0.1, True)
    assert exaone["chat_template_kwargs"] == {"a": 1, "enable_thinking": True}


@pytest.mark.parametrize(
    ("usage", "becomes"),
    [
        (
            {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}},
            Tokens(1, 1, cached=1),
        ),
        (
            {"prompt_tokens": 1, "completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 9}},
            Tokens(1, 1, reasoning=1),
        ),
    ],
)
def test_no_part_of_the_usage_is_larger_than_its_whole(usage: dict[str, Any], becomes: Tokens) -> None:
    assert tokens(answer(GPT, {"content": "a"}, usage=usage)) == becomes
