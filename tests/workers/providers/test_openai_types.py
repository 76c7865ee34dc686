"""OpenAI's own types accept what our adapter sends, what the mock answers, and what our clients get of every dialect."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from pydantic import TypeAdapter

from gateway.wire.event import Tokens
from tests.workers.providers.calls import TOOL, adapter_of, answered, call, choices, plan, raw
from workers.answer import StreamWriter, usage_object, whole
from workers.metering import NOTHING
from workers.providers.base import Delta, Whole

EVERYTHING: dict[str, Any] = {
    "temperature": 0.5, "top_p": 0.9, "n": 2, "stop": ["x"], "seed": 7, "logprobs": True, "top_logprobs": 2, "user": "u",
    "frequency_penalty": 1, "presence_penalty": -1, "tools": [TOOL], "tool_choice": "required", "max_tokens": 50,
    "parallel_tool_calls": False, "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}},
    "logit_bias": {"1": 2}, "metadata": {"a": "b"}, "store": False, "service_tier": "auto",
}  # fmt: skip  # a table
DIALECTS = {
    "openai": ("openai/gpt-4o", ""),
    "anthropic": ("anthropic/claude-opus-4.5", ""),
    "google": ("google/gemini-2.5-pro", ""),
    "compatible": ("x-ai/grok-4", "flavour=xai "),
}


@pytest.mark.parametrize("model", ["openai/gpt-4o", "openai/gpt-5", "openai/o1"])
@pytest.mark.parametrize("stream", [True, False])
def test_what_is_sent_to_openai_is_a_request_of_its_sdk(model: str, stream: bool) -> None:
    kind: Any = CompletionCreateParamsStreaming if stream else CompletionCreateParamsNonStreaming
    more: dict[str, Any] = (
        EVERYTHING if model == "openai/gpt-4o" else {"reasoning_effort": "low", "max_tokens": 50, "tools": [TOOL]}
    )
    made = call(model, stream=stream, **more)
    sent = json.loads(adapter_of(made).request(made).content)
    types = TypeAdapter(kind)
    types.validate_python(sent)
    assert sent.keys() <= kind.__required_keys__ | kind.__optional_keys__


@pytest.mark.parametrize("does", ["tokens=4 cached=2 reasoning=1", "tool=weather", "tokens=0", "tokens=2 usage=0"])
def test_what_the_mock_answers_is_an_answer_of_the_sdk(does: str) -> None:
    body = plan(call("openai/gpt-4o", stream=False, tools=[TOOL]), does).body
    whole = ChatCompletion.model_validate_json(body, strict=True)
    *events, done, rest = raw(plan(call("openai/gpt-4o", tools=[TOOL]), does)).decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    chunks = [ChatCompletionChunk.model_validate_json(event.removeprefix("data: "), strict=True) for event in events]
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert ends == [whole.choices[0].finish_reason]


@pytest.mark.parametrize("does", ["tokens=4", "tool=weather"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_our_clients_get_is_an_answer_of_the_sdk(dialect: str, does: str) -> None:
    model, flavour = DIALECTS[dialect]
    usage = usage_object(Tokens(10, 4), NOTHING)
    events = answered(call(model, tools=[TOOL]), flavour + does)
    writer = StreamWriter("chatcmpl-1", 1, model, include_usage=True)
    written = b"".join(writer.delta(event) for event in events if isinstance(event, Delta)) + writer.tail(usage, [])
    for event in written.decode().split("\n\n")[:-2]:
        ChatCompletionChunk.model_validate_json(event.removeprefix("data: "), strict=True)
    assert written.endswith(b"data: [DONE]\n\n")
    events = answered(call(model, stream=False, tools=[TOOL]), flavour + does)
    fields = next((event.fields for event in events if isinstance(event, Whole)), {"choices": choices(events)})
    ChatCompletion.model_validate_json(whole(fields, "chatcmpl-1", 1, model, usage), strict=True)
    assert msgspec.json.decode(whole(fields, "chatcmpl-1", 1, model, usage))["model"] == model
