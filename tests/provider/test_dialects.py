"""The mock's native dialects, read by the providers' own SDKs, and the flavours, read by our adapters."""

from typing import Any

import anthropic
import pytest
from anthropic.types import RawMessageStartEvent, RawMessageStopEvent
from google import genai
from google.genai import errors, types

from gateway.wire.event import Tokens
from tests.provider.dialects.anthropic import SIGNATURE
from tests.provider.dialects.google import PICTURE_TOKENS
from tests.provider.dialects.openai import answer_text
from tests.provider.server import Provider
from tests.workers.providers.calls import TOOL, answered, call, failure, message, plan, read, tokens

_ASK: Any = [{"role": "user", "content": "안녕"}]
_CLAUDE_TOOL: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}


@pytest.fixture
def claude(provider: Provider) -> Any:
    with anthropic.Anthropic(base_url=provider.native_url, api_key="sk-ant-key1", max_retries=0) as client:
        yield client


@pytest.fixture
def gemini(provider: Provider) -> Any:
    options = types.HttpOptions(base_url=provider.native_url)
    with genai.Client(api_key="key2", http_options=options) as client:
        yield client


def test_the_anthropic_sdk_reads_a_message(claude: anthropic.Anthropic) -> None:
    made = claude.messages.create(model="claude@tokens=3,think=2,cached=4", max_tokens=50, messages=_ASK)
    assert [block.type for block in made.content] == ["thinking", "text"]
    assert made.content[0].type == "thinking" and made.content[0].signature == SIGNATURE
    assert made.content[1].type == "text" and made.content[1].text == answer_text(3)
    assert (made.stop_reason, made.usage.output_tokens, made.usage.cache_read_input_tokens) == ("end_turn", 5, 4)


@pytest.mark.parametrize("how", ["", "split=7", "gzip=1", "ping=1", "split=1,gzip=1,ping=2"])
def test_the_anthropic_sdk_reads_a_stream_however_it_arrives(claude: anthropic.Anthropic, how: str) -> None:
    model = f"claude@tool=weather,calls=2,think=2,{how}"
    with claude.messages.stream(model=model, max_tokens=50, messages=_ASK, tools=[_CLAUDE_TOOL]) as stream:
        events = list(stream)
        made = stream.get_final_message()
    assert isinstance(events[0], RawMessageStartEvent) and any(isinstance(e, RawMessageStopEvent) for e in events)
    assert [block.input for block in made.content if block.type == "tool_use"] == [{"echo": "안녕"}] * 2
    assert made.stop_reason == "tool_use"


def test_the_anthropic_sdk_raises_its_own_errors(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.RateLimitError) as limited:
        claude.messages.create(model="c@error=429,retry_after=2", max_tokens=5, messages=_ASK)
    assert limited.value.response.headers["retry-after"] == "2"
    with pytest.raises(anthropic.InternalServerError):
        claude.messages.create(model="c@refuse=overloaded", max_tokens=5, messages=_ASK)
    with (
        pytest.raises(anthropic.APIStatusError),
        claude.messages.stream(model="c@fail_at=1", max_tokens=5, messages=_ASK) as stream,
    ):
        list(stream)


def test_the_genai_sdk_reads_a_response(gemini: genai.Client) -> None:
    made = gemini.models.generate_content(model="gemini@tokens=2,images=1,think=1", contents="안녕")
    assert made.candidates and made.candidates[0].content and made.candidates[0].content.parts
    parts = made.candidates[0].content.parts
    assert [bool(part.thought) for part in parts] == [True, False, False, False]
    assert parts[3].inline_data and parts[3].inline_data.mime_type == "image/png"
    usage = made.usage_metadata
    assert usage and (usage.candidates_token_count, usage.thoughts_token_count) == (2 + PICTURE_TOKENS, 1)
    assert made.candidates[0].finish_reason == types.FinishReason.STOP


@pytest.mark.parametrize("how", ["", "split=7", "gzip=1"])
def test_the_genai_sdk_reads_a_stream_however_it_arrives(gemini: genai.Client, how: str) -> None:
    chunks = list(gemini.models.generate_content_stream(model=f"gemini@tokens=4,{how}", contents="안녕"))
    assert "".join(chunk.text or "" for chunk in chunks) == answer_text(4)
    last = chunks[-1].usage_metadata
    assert last and last.candidates_token_count == 4


def test_the_genai_sdk_sees_blocked_prompts_and_errors(gemini: genai.Client) -> None:
    blocked = gemini.models.generate_content(model="gemini@block=1", contents="안녕")
    assert blocked.prompt_feedback and blocked.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT
    with pytest.raises(errors.ClientError) as limited:
        gemini.models.generate_content(model="gemini@error=429,retry_after=3", contents="안녕")
    assert limited.value.code == 429 and limited.value.status == "RESOURCE_EXHAUSTED"


FLAVOURED = {
    "xai": "x-ai/grok-4",
    "deepseek": "deepseek/deepseek-v3.2",
    "zai": "z-ai/glm-4.6",
    "moonshot": "moonshotai/kimi-k2-thinking",
    "minimax": "minimax/minimax-m2",
    "upstage": "upstage/solar-pro-2",
    "tags": "minimax/minimax-m1",
    "perplexity": "perplexity/sonar-pro",
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("flavour", FLAVOURED)
def test_each_flavour_is_the_same_answer_to_our_clients(flavour: str, stream: bool) -> None:
    events = answered(
        call(FLAVOURED[flavour], stream=stream), f"flavour={flavour} tokens=3 think=2 cached=2 searches=1"
    )
    choice = message(events)
    assert choice["message"]["content"] == answer_text(3)
    assert choice["message"]["reasoning_content"] == "t0 t1 "
    assert choice["finish_reason"] == "stop"
    prompt = tokens(events).prompt
    assert tokens(events) == Tokens(prompt, 5, cached=2, reasoning=2, search=flavour == "perplexity")


@pytest.mark.parametrize("flavour", ["xai", "deepseek"])
def test_tool_calls_of_flavours(flavour: str) -> None:
    choice = message(answered(call(FLAVOURED[flavour], tools=[TOOL]), f"flavour={flavour} tool=weather"))
    (one,) = choice["message"]["tool_calls"]
    assert one["function"] == {"name": "weather", "arguments": '{"echo": "안녕"}'}


def test_minimax_refuses_under_a_200() -> None:
    made = call(FLAVOURED["minimax"], stream=False)
    answer = plan(made, "flavour=minimax error=429")
    assert answer.status == 200 and failure(read(made, answer.body)).kind == "rate_limited"
