"""A job from its claim to its end, with a real Redis and a provider that can be told how to behave."""

from __future__ import annotations

import json

import pytest

from tests.provider.dialects.openai import answer_text
from tests.provider.server import Provider
from tests.workers.line import Line, chat, deployment, started

pytestmark = pytest.mark.anyio


async def test_a_stream_arrives_whole_and_is_charged_to_the_token(line: Line, provider: Provider) -> None:
    worker = await started(line, [deployment(provider.base_url)])
    job = await line.place(chat("[[mock tokens=40 delay=1ms]]", stream=True, stream_options={"include_usage": True}))
    await worker.run(job)
    heard = await line.ended(job)
    assert heard.content() == answer_text(40)
    assert heard.text.endswith("data: [DONE]\n\n")
    call = provider.log.calls[0]
    usage = heard.chunks()[-1]["usage"]
    event = line.events()[0]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (call.prompt_tokens, call.completion_tokens)
    assert usage["cost_krw"] == event.won
    assert line.window().held_micro == 0 and line.window().slots == 0
    await worker.close()


async def test_a_whole_answer_keeps_the_providers_fields_under_our_id(line: Line, provider: Provider) -> None:
    worker = await started(line, [deployment(provider.base_url)])
    job = await line.place(chat("[[mock tokens=3]]"))
    await worker.run(job)
    final = (await line.ended(job)).final
    assert final is not None and final.status == 200
    answer = json.loads(final.body)
    assert answer["id"] == "chatcmpl-" + job
    assert answer["model"] == "openai/gpt-4o"
    assert answer["system_fingerprint"] == "fp_mock"
    assert answer["choices"][0]["message"]["content"] == answer_text(3)
    assert answer["usage"]["cost_krw"] == line.events()[0].won
    await worker.close()
