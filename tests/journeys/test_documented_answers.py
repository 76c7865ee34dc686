"""The documented statuses, field names and texts, over plain HTTP: what users' own programs compare with."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.journeys.conftest import Account
from tests.operating import UPSTREAM_KEY
from tests.provider.server import Provider

ASK = [{"role": "user", "content": "Where is the harbour? [[mock tokens=3]]"}]
BASES = ("/api/v1", "/v1")
INVALID_KEY = {"error": {"code": "invalid_api_key", "message": "Invalid API key", "type": "invalid_api_key"}}
NO_CREDIT = {"code": "credit_limit_exceeded", "message": "Credit limit exceeded", "type": "credit_limit_exceeded"}


@pytest.fixture(scope="module")
def http(account: Account) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=account.installation.root, timeout=60) as client:
        yield client


def ask(http: httpx.Client, key: str, base: str = "/api/v1", **fields: Any) -> httpx.Response:
    body = {"model": "openai/gpt-4o", "messages": ASK, **fields}
    return http.post(f"{base}/chat/completions", json=body, headers={"X-API-Key": key})


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("path", ["/chat/completions", "/completions", "/models"])
def test_a_credential_that_is_missing_or_wrong(http: httpx.Client, base: str, path: str) -> None:
    method = "GET" if path == "/models" else "POST"
    wrong = ("", "Bearer", "Bearer sk-br-v1-x", "Basic c2stYnI6", "sk-br-v1-x", "Bearer kr-x")
    answers = [http.request(method, base + path, headers={"Authorization": sent} if sent else {}) for sent in wrong]
    answers.append(http.request(method, base + path, headers={"X-API-Key": "sk-br-v1-x"}))
    answers.append(http.request(method, base + path, headers={"Cookie": "wonrouter_session=x"}))
    assert [(answer.status_code, answer.json()) for answer in answers] == [(401, INVALID_KEY)] * len(answers)


def test_x_api_key_wins_over_bearer(http: httpx.Client, account: Account) -> None:
    for header, bearer, status in ((account.key, "kr-wrong", 200), ("kr-wrong", account.key, 401)):
        headers = {"X-API-Key": header, "Authorization": f"Bearer {bearer}"}
        assert http.get("/api/v1/models", headers=headers).status_code == status


@pytest.mark.parametrize("stream", [False, True])
def test_no_credit_is_403_on_one_path_and_402_on_the_other(
    http: httpx.Client, poor_account: Account, stream: bool
) -> None:
    for base, status in (("/api/v1", 403), ("/v1", 402)):
        for path, sent in (("/chat/completions", {"messages": ASK}), ("/completions", {"prompt": "x"})):
            body = {"model": "openai/gpt-4o", "stream": stream, **sent}
            answer = http.post(base + path, json=body, headers={"X-API-Key": poor_account.key})
            assert answer.status_code == status
            assert answer.json()["error"].items() >= NO_CREDIT.items()


@pytest.mark.parametrize(
    ("model", "suggested"),
    [
        ("gpt-5", "openai/gpt-5"),
        ("openai/gpt-3.5-turbo", "openai/gpt-4o-mini"),
        ("google/gemini-1.5-pro", "google/gemini-2.5-pro"),
    ],
)
def test_a_model_that_is_none_or_no_more(http: httpx.Client, account: Account, model: str, suggested: str) -> None:
    listed = {one["id"] for one in account.get("/api/v1/models")["models"]}
    for answer in (
        ask(http, account.key, model=model),
        ask(http, account.key, model=model, stream=True),
        http.get(f"/api/v1/models/{model}", headers={"X-API-Key": account.key}),
    ):
        error = answer.json()["error"]
        assert answer.status_code == 404
        assert (error["code"], error["type"]) == ("model_not_found", "model_not_found")
        assert error["message"] == f"Model not found: {model}"
        assert suggested in error["details"]["suggestions"]
        assert set(error["details"]["suggestions"]) <= listed


@pytest.mark.parametrize(
    "model", ["///", "openai/", "/gpt-4o", "openai/gpt-4o ", "가나다", "x" * 60, "../../etc", "kr/gpt4o\n"]
)
def test_a_malformed_model_is_not_found(http: httpx.Client, account: Account, model: str) -> None:
    answer = ask(http, account.key, model=model)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert answer.json()["error"]["message"] == f"Model not found: {model}"


def test_the_documented_alias_is_its_model(http: httpx.Client, account: Account) -> None:
    answer = http.get("/api/v1/models/anthropic/claude-3-5-sonnet", headers={"X-API-Key": account.key})
    assert (answer.status_code, answer.json()["id"]) == (200, "anthropic/claude-3.5-sonnet")


@pytest.mark.parametrize("base", BASES)
def test_a_model_without_a_deployment_says_what_to_configure(http: httpx.Client, account: Account, base: str) -> None:
    answer = ask(http, account.key, base, model="anthropic/claude-3.5-sonnet")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (503, "service_unavailable", "service_unavailable")
    assert "anthropic/claude-3.5-sonnet" in error["message"] and "deployments apply" in error["message"]
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("base", BASES)
def test_too_many_requests_say_when_to_come_back(http: httpx.Client, account: Account, base: str) -> None:
    key = account.installation.key(account.organisation, f"slow{base}", rpm=1)
    assert ask(http, key, base).status_code == 200
    answer = ask(http, key, base)
    pause = int(answer.headers["retry-after"])
    assert answer.status_code == 429 and 1 <= pause <= 60
    error = answer.json()["error"]
    assert error.pop("details")["retry_after"] == pause
    assert error == {
        "code": "rate_limit_exceeded", "message": "Rate limit exceeded. Please try again later.",
        "type": "rate_limit_error",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": [{"role": "pirate", "content": "x"}]}, "messages[0].role"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"frequency_penalty": -2.1}, "frequency_penalty"),
        ({"presence_penalty": 2.1}, "presence_penalty"),
        ({"max_tokens": 16_385}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"user": 7}, "user"),
    ],
)
def test_a_bad_parameter_is_named(http: httpx.Client, account: Account, sent: dict[str, Any], param: str) -> None:
    answer = ask(http, account.key, **sent)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (400, "invalid_request", "invalid_request_error")
    assert error["param"] == param and error["message"]


def test_a_forbidden_word_is_told_in_the_documented_words(http: httpx.Client, account: Account) -> None:
    account.installation.run("words", "add", account.organisation, "대외비프로젝트")
    refused = [
        ask(http, account.key, base, messages=[{"role": "user", "content": "대외비프로젝트는 언제?"}]) for base in BASES
    ]
    said = {"code": "forbidden_content", "message": "사내 금지어가 포함되어 있습니다", "type": "forbidden_content"}
    assert [(answer.status_code, answer.json()) for answer in refused] == [(400, {"error": said})] * 2
    account.installation.run("words", "remove", account.organisation, "대외비프로젝트")


@pytest.mark.parametrize("status", [400, 422])
def test_a_providers_own_error_is_passed_through_byte_for_byte(
    http: httpx.Client, account: Account, upstream: Provider, status: int
) -> None:
    messages = [{"role": "user", "content": f"[[mock error={status}]]"}]
    own = {"Authorization": f"Bearer {UPSTREAM_KEY}"}
    body = {"model": "gpt-4o", "messages": messages}
    said = httpx.post(f"{upstream.base_url}/chat/completions", json=body, headers=own)
    answer = ask(http, account.key, messages=messages)
    assert (answer.status_code, answer.content) == (status, said.content)
    assert answer.headers["content-type"] == said.headers["content-type"]
    assert answer.headers["x-wonrouter-error-source"] == "provider"


def test_an_answer_has_the_documented_shape(http: httpx.Client, account: Account) -> None:
    answer = ask(http, account.key).json()
    assert answer["id"].startswith("chatcmpl-")
    assert (answer["object"], answer["model"], type(answer["created"])) == ("chat.completion", "openai/gpt-4o", int)
    (choice,) = answer["choices"]
    assert (choice["index"], choice["finish_reason"], choice["message"]["role"]) == (0, "stop", "assistant")
    assert type(choice["message"]["content"]) is str
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def events(answer: httpx.Response) -> list[str]:
    """The data of each event; nothing but events and comments is in a stream."""
    blocks = [block for block in answer.text.split("\n\n") if block and not block.startswith(":")]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [block.removeprefix("data: ") for block in blocks]


@pytest.mark.parametrize("base", BASES)
def test_a_stream_has_the_documented_shape(http: httpx.Client, account: Account, base: str) -> None:
    answer = ask(http, account.key, base, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *data, done = events(answer)
    assert done == "[DONE]"
    chunks = [json.loads(one) for one in data]
    assert {(chunk["object"], chunk["model"]) for chunk in chunks} == {("chat.completion.chunk", "openai/gpt-4o")}
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert choices[0]["delta"]["role"] == "assistant"
    assert not any("role" in choice["delta"] for choice in choices[1:])
    assert (choices[-1]["delta"], choices[-1]["finish_reason"]) == ({}, "stop")
    assert {choice["finish_reason"] for choice in choices[:-1]} == {None}


@pytest.mark.parametrize("base", BASES)
def test_legacy_completions_are_text_completion_objects(http: httpx.Client, account: Account, base: str) -> None:
    body = {"model": "openai/gpt-4o", "prompt": "Where is the harbour? [[mock tokens=3]]"}
    headers = {"X-API-Key": account.key}
    answer = http.post(f"{base}/completions", json=body, headers=headers).json()
    assert (answer["object"], answer["model"]) == ("text_completion", "openai/gpt-4o")
    assert answer["id"].startswith("cmpl-") and answer["usage"]["completion_tokens"] == 3
    *data, done = events(http.post(f"{base}/completions", json=body | {"stream": True}, headers=headers))
    chunks = [json.loads(one) for one in data]
    assert done == "[DONE]" and {chunk["object"] for chunk in chunks} == {"text_completion"}
    text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    assert text == answer["choices"][0]["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == answer["choices"][0]["finish_reason"] == "stop"


def test_the_model_list_holds_numbers_that_snippets_can_count_with(http: httpx.Client, account: Account) -> None:
    raw = http.get("/api/v1/models", headers={"X-API-Key": account.key}).text
    listed = json.loads(raw, parse_float=Decimal, parse_int=Decimal)
    assert isinstance(listed["exchange_rate"], Decimal)
    for model in listed["models"]:
        for kind in ("input", "output"):
            usd, won = model[f"{kind}_price_per_1m_usd"], model[f"{kind}_price_per_1m_krw"]
            assert isinstance(usd, Decimal) and won == usd * listed["exchange_rate"], model["id"]
        assert isinstance(model["context_length"], Decimal) and isinstance(model["max_output_tokens"], Decimal)
        assert type(model["available"]) is bool
    ids = [model["id"] for model in listed["models"]]
    assert [model["id"] for model in listed["data"]] == ids
    assert {tuple(model) for model in listed["data"]} == {("id", "object", "created", "owned_by")}
    sandbox = [name.startswith("sandbox/") for name in ids]
    assert sandbox == sorted(sandbox), "sandbox models come last"


def test_what_a_key_shows_is_kept_in_no_cache(http: httpx.Client, account: Account) -> None:
    for path in ("/api/v1/models", "/v1/credits", "/api/v1/key", "/api/v1/manage/keys", "/api/v1/nothing"):
        headers = http.get(path, headers={"X-API-Key": account.key}).headers
        assert headers["cache-control"] == "no-store", path
        assert headers["x-content-type-options"] == "nosniff", path
    assert ask(http, account.key, stream=True).headers.get_list("cache-control") == ["no-cache"]
