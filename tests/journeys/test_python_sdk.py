"""openai-python against both base paths, as the documentation tells users to call it."""

from typing import Any

import httpx
import openai
import pytest

from tests.journeys.conftest import Account
from tests.provider.dialects.openai import answer_text

ASK: Any = [{"role": "user", "content": "Where is the harbour? [[mock tokens=12]]"}]
SURFACES = [("/api/v1", "openai/gpt-4o"), ("/v1", "kr/gpt4o"), ("/v1", "gpt-4o")]
on_every_surface = pytest.mark.parametrize(("path", "model"), SURFACES)


@on_every_surface
def test_a_call_is_answered_whole_with_the_model_asked_for(account: Account, path: str, model: str) -> None:
    answer = account.client(path).chat.completions.create(model=model, messages=ASK)
    assert answer.choices[0].message.content == answer_text(12)
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.object, answer.model) == ("chat.completion", model)
    assert answer.id.startswith("chatcmpl-")
    assert answer.usage
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (12, answer.usage.prompt_tokens + 12)


@on_every_surface
def test_a_stream_is_the_same_answer_in_pieces(account: Account, path: str, model: str) -> None:
    chunks = list(account.client(path).chat.completions.create(model=model, messages=ASK, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == answer_text(12)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert {chunk.model for chunk in chunks} == {model}
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1
    assert not any(chunk.usage for chunk in chunks), "usage was not asked for"


@on_every_surface
@pytest.mark.parametrize("stream", [False, True])
def test_the_old_completions_are_there_for_older_clients(account: Account, path: str, model: str, stream: bool) -> None:
    prompts = ["Where is the harbour? [[mock tokens=12]]", "And the market? [[mock tokens=5]]"]
    answer: Any = account.client(path).completions.create(model=model, prompt=prompts, stream=stream)
    texts = ["", ""]
    for part in answer if stream else [answer]:
        assert (part.object, part.model) == ("text_completion", model)
        assert part.id.startswith("cmpl-")
        for choice in part.choices:
            texts[choice.index] += choice.text
    assert texts == [answer_text(12), answer_text(5)]
    assert stream or answer.usage.completion_tokens == 17


def test_a_stream_ends_with_usage_when_it_is_asked_for(account: Account) -> None:
    options: Any = {"include_usage": True}
    stream = account.client().chat.completions.create(
        model="openai/gpt-4o", messages=ASK, stream=True, stream_options=options
    )
    chunks = list(stream)
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage]
    assert chunks[-1].choices == []
    assert usage.completion_tokens == 12
    assert getattr(usage, "cost_krw", None)


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_the_asynchronous_client_gets_the_same(account: Account, stream: bool) -> None:
    async with account.asynchronous() as client:
        answer: Any = await client.chat.completions.create(model="openai/gpt-4o", messages=ASK, stream=stream)
        if stream:
            text = "".join([c.choices[0].delta.content or "" async for c in answer if c.choices])
        else:
            text = answer.choices[0].message.content
    assert text == answer_text(12)


def test_with_raw_response_shows_the_request_id_and_parses(account: Account) -> None:
    raw = account.client().chat.completions.with_raw_response.create(model="openai/gpt-4o", messages=ASK)
    assert raw.headers["x-request-id"]
    assert raw.http_response.status_code == httpx.codes.OK
    parsed: Any = raw.parse()
    assert parsed.choices[0].message.content == answer_text(12)


def test_tools_pass_through_both_ways(account: Account) -> None:
    tools: Any = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    answer = account.client().chat.completions.create(
        model="openai/gpt-4o", messages=ASK, tools=tools, tool_choice="required"
    )
    call: Any = (answer.choices[0].message.tool_calls or [])[0]
    assert call.function.name == "look"
    assert "harbour" in call.function.arguments
    assert answer.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("path", ["/api/v1", "/v1"])
def test_models_are_listed_and_retrieved(account: Account, path: str) -> None:
    client = account.client(path)
    listed = {model.id for model in client.models.list()}
    assert {"openai/gpt-4o", "anthropic/claude-3.5-sonnet"} <= listed
    assert client.models.retrieve("openai/gpt-4o").id == "openai/gpt-4o"


@pytest.mark.parametrize("path", ["/api/v1", "/v1"])
def test_a_wrong_key_is_an_authentication_error(account: Account, path: str) -> None:
    for key in ("sk-br-v1-00000000-0000-4000-8000-000000000000_wrong", "kr-wrong", "nonsense"):
        with pytest.raises(openai.AuthenticationError) as raised:
            account.client(path, key).chat.completions.create(model="openai/gpt-4o", messages=ASK)
        assert raised.value.code == "invalid_api_key"
        assert raised.value.response.json()["error"]["message"] == "Invalid API key"


@pytest.mark.parametrize("path", ["/api/v1", "/v1"])
def test_an_unknown_model_is_not_found(account: Account, path: str) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        account.client(path).chat.completions.create(model="openai/gpt-99", messages=ASK)
    error = raised.value.response.json()["error"]
    assert (error["code"], error["message"]) == ("model_not_found", "Model not found: openai/gpt-99")


@pytest.mark.parametrize("stream", [False, True])
def test_without_credit_one_path_says_403_and_the_other_402(poor_account: Account, stream: bool) -> None:
    with pytest.raises(openai.PermissionDeniedError) as forbidden:
        poor_account.client("/api/v1").chat.completions.create(model="openai/gpt-4o", messages=ASK, stream=stream)
    with pytest.raises(openai.APIStatusError) as unpaid:
        poor_account.client("/v1").chat.completions.create(model="kr/gpt4o", messages=ASK, stream=stream)
    assert unpaid.value.status_code == httpx.codes.PAYMENT_REQUIRED
    bodies = [error.value.response.json()["error"] for error in (forbidden, unpaid)]
    assert {body["code"] for body in bodies} == {"credit_limit_exceeded"}
    assert {body["message"] for body in bodies} == {"Credit limit exceeded"}
    assert unpaid.value.response.headers["x-should-retry"] == "false"


def test_a_key_of_either_kind_works_on_both_paths(account: Account) -> None:
    for path, key in (("/v1", account.key), ("/api/v1", account.krouter_key)):
        answer = account.client(path, key).chat.completions.create(model="openai/gpt-4o", messages=ASK)
        assert answer.choices[0].message.content == answer_text(12)


def test_a_providers_own_error_comes_through_as_it_came(account: Account) -> None:
    ask: Any = [{"role": "user", "content": "[[mock error=400]]"}]
    with pytest.raises(openai.BadRequestError) as raised:
        account.client().chat.completions.create(model="openai/gpt-4o", messages=ask)
    assert raised.value.response.json()["error"]["code"] == "mock_error"
    assert raised.value.response.headers["x-wonrouter-error-source"] == "provider"
