"""The sandbox: the same answer every time, through the same code as any other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.deployments.store import sandbox_deployments
from tests.workers.line import Line, chat, started

pytestmark = pytest.mark.anyio


async def answer(line: Line, model: str, text: str = "하나 둘 셋 넷", **more: object) -> tuple[int, str]:
    short: dict[str, Any] = (
        {"first_token_timeout_s": 0.3, "total_timeout_s": 0.5} if model == "sandbox/error-timeout" else {}
    )
    worker = await started(line, sandbox_deployments(), **short)
    job = await line.place({**chat(text, **more), "model": model}, models=[model])
    await worker.run(job)
    heard = await line.ended(job)
    await worker.drain(1)
    await worker.close()
    final = heard.final
    assert final is not None
    return final.status, heard.content() if more.get("stream") else final.body.decode()


@pytest.mark.parametrize("model", ["sandbox/echo", "sandbox/slow"])
async def test_it_repeats_what_was_said_word_by_word(line: Line, model: str) -> None:
    assert await answer(line, model, stream=True) == (200, "하나 둘 셋 넷 ")
    event = line.events()[0]
    assert (event.tokens.completion, event.estimated) == (4, False)
    assert event.micro > 0


async def test_it_honours_a_limit_and_choices(line: Line) -> None:
    status, body = await answer(line, "sandbox/echo", max_tokens=2, n=2)
    choices = json.loads(body)["choices"]
    assert status == 200
    assert [choice["message"]["content"] for choice in choices] == ["하나 둘 ", "하나 둘 "]
    assert {choice["finish_reason"] for choice in choices} == {"length"}


async def test_it_calls_a_demanded_tool(line: Line) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    _, body = await answer(line, "sandbox/echo", tools=tools, tool_choice="required")
    call = json.loads(body)["choices"][0]["message"]["tool_calls"][0]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("look", {"text": "하나 둘 셋 넷 "})


@pytest.mark.parametrize(
    ("model", "status"),
    [
        ("sandbox/error-429", 429),
        ("sandbox/error-500", 500),
        ("sandbox/error-503", 503),
        ("sandbox/error-timeout", 502),
        ("sandbox/error-cut", 502),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_each_error_is_what_its_name_says(line: Line, model: str, status: int, stream: bool) -> None:
    assert (await answer(line, model, stream=stream))[0] == status
