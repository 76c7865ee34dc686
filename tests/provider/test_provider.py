"""The oracle itself: what the mock sends, and that its log says the same."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.provider.behaviour import Behaviour, parse_behaviour
from tests.provider.dialects.openai import answer_text
from tests.provider.log import read_log
from tests.provider.server import Provider, running_provider

_ASK: Any = [{"role": "user", "content": "twelve bytes"}]


@pytest.fixture
def client(provider: Provider) -> openai.OpenAI:
    return openai.OpenAI(base_url=provider.base_url, api_key="sk-upstream", max_retries=0)


def test_json_answer_and_log_carry_the_usage_of_the_documented_rule(provider: Provider, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gpt-4o", messages=_ASK, extra_headers={"x-client-request-id": "job-1"}
    )
    assert answer.usage and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3 + 4 + 3, 16)
    assert answer.choices[0].message.content == answer_text(16)
    (call,) = provider.log.calls
    assert (call.id, call.client_request_id, call.account) == (answer.id, "job-1", "ream")
    assert (call.prompt_tokens, call.completion_tokens, call.finished) == (10, 16, True)


def test_prompt_tokens_count_bytes_parts_images_and_tools(client: openai.OpenAI) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "안녕"}, image]}]
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    answer = client.chat.completions.create(model="gpt-4o", messages=messages, tools=tools)
    assert answer.usage and answer.usage.prompt_tokens == 3 + 16 + 4 + 2 + 85


@pytest.mark.parametrize("asked", [True, False])
def test_stream_is_the_same_text_and_usage_comes_only_when_asked(client: openai.OpenAI, asked: bool) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if asked else {}
    chunks = list(client.chat.completions.create(model="gpt-4o@tokens=5", messages=_ASK, stream=True, **options))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == answer_text(5)
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == ([5] if asked else [])
    assert chunks[0].choices[0].delta.role == "assistant"


def test_max_tokens_cuts_with_finish_reason_length(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=_ASK, max_tokens=3, n=2)
    assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]
    assert answer.usage and answer.usage.completion_tokens == 6


@pytest.mark.parametrize("streamed", [True, False])
def test_a_demanded_tool_is_called_with_the_echoed_question(client: openai.OpenAI, streamed: bool) -> None:
    tools: Any = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    arguments: Any = {"model": "gpt-4o", "messages": _ASK, "tools": tools, "tool_choice": "required"}
    if streamed:
        with client.chat.completions.stream(**arguments) as stream:
            answer: Any = stream.get_final_completion()
    else:
        answer = client.chat.completions.create(**arguments)
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("look", {"echo": "twelve bytes"})
    assert answer.choices[0].finish_reason == "tool_calls"


def test_behaviour_is_taken_from_default_model_suffix_text_and_header_in_that_order(provider: Provider) -> None:
    provider.behaviour = Behaviour(tokens=1, first=1)
    provider.models["slow"] = Behaviour(tokens=2)
    assert provider.choose("other", "", "") == Behaviour(tokens=1, first=1)
    assert provider.choose("slow@delay=5ms", "hello [[mock tokens=3]]", "pad=4") == Behaviour(3, delay=0.005, pad=4)
    with pytest.raises(ValueError, match="unknown behaviour"):
        parse_behaviour("tokns=3")


def test_errors_carry_status_retry_after_and_no_tokens(provider: Provider, client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model="gpt-4o@error=429,retry_after=2", messages=_ASK)
    assert raised.value.response.headers["retry-after"] == "2"
    (call,) = provider.log.calls
    assert (call.status, call.finished, call.prompt_tokens) == (429, False, 0)


def test_a_cut_stream_is_logged_with_the_tokens_sent(provider: Provider, client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        list(client.chat.completions.create(model="gpt-4o@cut=3,delay=1ms", messages=_ASK, stream=True))
    (call,) = provider.log.calls
    assert (call.cut, call.finished, call.completion_tokens) == (True, False, 3)


def test_the_gate_holds_a_stream_and_a_leaving_client_is_seen(provider: Provider, client: openai.OpenAI) -> None:
    provider.gate.close()
    stream = client.chat.completions.create(model="gpt-4o@gate=2", messages=_ASK, stream=True)
    provider.log.wait_for(lambda calls: calls and calls[0].completion_tokens == 2)
    assert provider.gate.waiting == 1
    stream.close()
    (call,) = provider.log.wait_for(lambda calls: calls[0].closed_early)
    assert (call.finished, call.completion_tokens) == (False, 2)


def test_an_opened_gate_lets_the_answer_end(provider: Provider, client: openai.OpenAI) -> None:
    provider.gate.close()
    stream = client.chat.completions.create(model="gpt-4o@gate=2,tokens=4", messages=_ASK, stream=True)
    provider.log.wait_for(lambda calls: calls and calls[0].completion_tokens == 2)
    provider.gate.open()
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == answer_text(4)
    assert provider.log.calls[0].finished


def test_a_reader_that_stops_stops_the_stream(provider: Provider, client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="gpt-4o@tokens=900,pad=65536", messages=_ASK, stream=True)
    stream.close()
    (call,) = provider.log.wait_for(lambda calls: calls and calls[0].ended_at)
    assert call.closed_early and call.completion_tokens < 900


def test_as_a_process_it_prints_its_address_and_writes_its_log(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    command = [sys.executable, "-m", "tests.provider", "--log", str(log), "--behaviour", "tokens=2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        base_url = process.stdout.readline().strip()
        body = json.dumps({"model": "m", "messages": _ASK}).encode()
        request = urllib.request.Request(f"{base_url}/chat/completions", body, {"Authorization": "Bearer k"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["usage"]["completion_tokens"] == 2
        process.terminate()
    assert [(call.completion_tokens, call.finished) for call in read_log(log)] == [(2, True)]


def test_the_log_file_of_a_fixture_has_one_truth_per_call(tmp_path: Path) -> None:
    with running_provider(tmp_path / "calls.jsonl") as running:
        client = openai.OpenAI(base_url=running.base_url, api_key="k")
        list(client.chat.completions.create(model="gpt-4o", messages=_ASK, stream=True))
        assert len(running.log.calls) == 1
    lines = (tmp_path / "calls.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert [call.finished for call in read_log(tmp_path / "calls.jsonl")] == [True]
