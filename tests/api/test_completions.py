"""Legacy completions through HTTP: prompts in, `text_completion` objects out."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from gateway.wire.frame import Final
from tests.api.conftest import KEY, MODEL, House, bearer
from tests.api.worker import Taken

pytestmark = pytest.mark.anyio

USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "total_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 1},
    "cost_krw": "0.0147",
    "cost_usd": "0.00001",
}


def whole(*texts: str, finish: str = "stop", logprobs: Any = None) -> Final:
    choices = [
        {"index": i, "message": {"role": "assistant", "content": t}, "finish_reason": finish, "logprobs": logprobs}
        for i, t in enumerate(texts)
    ]
    answer = {"id": "chatcmpl-1", "created": 7, "model": MODEL, "choices": choices, "usage": USAGE}
    return Final(200, json.dumps(answer).encode())


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}
    return b"data: " + json.dumps({"id": "x", "created": 7, "model": MODEL, "choices": [choice]}).encode() + b"\n\n"


def ask(house: House, base: str = "/api/v1", **fields: Any) -> asyncio.Task[httpx.Response]:
    body = {"model": MODEL, **fields}
    return asyncio.create_task(house.client.post(f"{base}/completions", json=body, headers=bearer(KEY)))


async def take(house: House, count: int) -> list[Taken]:
    """So many jobs, in the order of their prompts."""
    taken = [await house.worker.take() for _ in range(count)]
    return sorted(taken, key=lambda each: each.claim.job)


@pytest.mark.parametrize("base", ["/api/v1", "/v1"])
async def test_a_prompt_is_one_user_message_and_its_answer_a_text(house: House, base: str) -> None:
    asked = ask(house, base, prompt="Once", max_tokens=9, temperature=0.5, best_of=1, echo=False)
    (taken,) = await take(house, 1)
    assert json.loads(taken.job.body) == {
        "model": MODEL,
        "max_tokens": 9,
        "temperature": 0.5,
        "messages": [{"role": "user", "content": "Once"}],
    }
    assert taken.job.endpoint == "completions"
    await taken.end(whole(" upon", finish="length"))
    response = await asked
    assert response.status_code == 200
    assert response.json() == {
        "id": "cmpl-" + taken.claim.job,
        "object": "text_completion",
        "created": 7,
        "model": MODEL,
        "choices": [{"text": " upon", "index": 0, "logprobs": None, "finish_reason": "length"}],
        "usage": USAGE,
    }


async def test_several_prompts_are_jobs_of_their_own_and_one_answer(house: House) -> None:
    asked = ask(house, prompt=["a", "b", "c"], n=2, echo=True)
    taken = await take(house, 3)
    for each in reversed(taken):
        prompt = json.loads(each.job.body)["messages"][0]["content"]
        await each.end(whole(prompt + "0", prompt + "1", finish="tool_calls"))
    answer = (await asked).json()
    assert [(c["index"], c["text"], c["finish_reason"]) for c in answer["choices"]] == [
        (i * 2 + j, prompt + prompt + str(j), "stop") for i, prompt in enumerate("abc") for j in range(2)
    ]
    assert answer["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 6,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 3},
        "cost_krw": "0.0441",
        "cost_usd": "0.00003",
    }


async def test_log_probabilities_come_in_the_old_shape(house: House) -> None:
    asked = ask(house, prompt="ab", logprobs=1, echo=True)
    (taken,) = await take(house, 1)
    assert json.loads(taken.job.body)["top_logprobs"] == 1
    tokens = [{"token": t, "logprob": -0.5, "top_logprobs": [{"token": t, "logprob": -0.5}]} for t in ("cd", "e")]
    await taken.end(whole("cde", logprobs={"content": tokens}))
    found = (await asked).json()["choices"][0]
    assert found["logprobs"] == {
        "tokens": ["cd", "e"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"cd": -0.5}, {"e": -0.5}],
        "text_offset": [2, 4],
    }


async def test_streams_of_several_prompts_are_one_stream_with_one_usage(house: House) -> None:
    asked = ask(house, prompt=["a", "b"], stream=True, echo=True, stream_options={"include_usage": True})
    for each in await take(house, 2):
        name = json.loads(each.job.body)["messages"][0]["content"]
        await each.send(each.chunk(chunk({"role": "assistant", "content": ""})), each.chunk(chunk({"content": "x"})))
        end = b"data: " + json.dumps({"id": "x", "created": 7, "model": MODEL, "choices": [], "usage": USAGE}).encode()
        await each.end(Final(200, chunk({}, "stop") + end + b"\n\ndata: [DONE]\n\n"))
        assert name in "ab"
    text = (await asked).text
    assert text.endswith("data: [DONE]\n\n") and text.count("[DONE]") == 1
    events = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    texts = {0: "", 1: ""}
    for choice in (c for event in events for c in event["choices"]):
        texts[choice["index"]] += choice["text"]
    assert texts == {0: "ax", 1: "bx"}
    assert {event["object"] for event in events} == {"text_completion"}
    assert len({event["id"] for event in events}) == 1
    assert events[-1]["usage"]["total_tokens"] == 10
    assert [event["usage"] for event in events[:-1]] == [None] * (len(events) - 1)


async def test_one_failure_fails_the_answer_and_cancels_the_rest(house: House) -> None:
    asked = ask(house, prompt=["a", "b"])
    first, second = await take(house, 2)
    await first.end(Final(429, b'{"error":{"message":"slow down"}}', source="provider", headers={"retry-after": "3"}))
    response = await asked
    assert (response.status_code, response.json()["error"]["message"]) == (429, "slow down")
    assert response.headers["retry-after"] == "3"
    assert (await house.worker.control("cancel")).job == second.claim.job


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": ["a"] * 21}, "prompt"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "best_of": 3}, "best_of"),
        ({"prompt": "a", "n": 2, "best_of": 3}, "best_of"),
        ({"prompt": "a", "logprobs": 6}, "logprobs"),
        ({"prompt": "a", "temperature": 3}, "temperature"),
    ],
)
async def test_what_chat_cannot_do_is_refused(house: House, fields: dict[str, Any], param: str) -> None:
    response = await ask(house, **fields)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
