"""Answers are masked before anything of them is published, kept or gone on with; what is charged does not change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from gateway.deployments.deployment import Deployment
from gateway.guardrails.kinds import KINDS
from gateway.guardrails.personal import Policy, mask
from gateway.wire.frame import decode_final
from tests.gateway.guardrails.texts import NUMBERS
from tests.provider.behaviour import parse_behaviour, saying
from tests.provider.server import Provider
from tests.workers.line import MODEL, Heard, Line, chat, deployment, started
from workers.calls import CallWorker
from workers.masking import AnswerMasking
from workers.providers.base import Delta

pytestmark = pytest.mark.anyio

Start = Callable[..., Awaitable[CallWorker]]
EVERY = list(KINDS)
CLAUDE, GEMINI, GROK = "anthropic/claude-sonnet-4", "google/gemini-2.5-flash", "x-ai/grok-4"


@pytest.fixture
async def start(line: Line, provider: Provider) -> AsyncIterator[Start]:
    made: list[CallWorker] = []

    async def begin(deployments: list[Deployment] | None = None, **changes: Any) -> CallWorker:
        made.append(await started(line, deployments or [deployment(provider.base_url)], **changes))
        return made[-1]

    yield begin
    for worker in made:
        await worker.drain(5)
        await worker.close()


async def ask(line: Line, worker: CallWorker, body: dict[str, Any], **job: Any) -> Heard:
    placed = await line.place(body, mask_output=EVERY, **job)
    await worker.run(placed)
    return await line.ended(placed)


def masked(text: str) -> str:
    return mask(text, Policy.of(dict.fromkeys(KINDS, "mask")))[0]


def told(heard: Heard) -> list[str]:
    notes = [chunk["wonrouter"] for chunk in heard.chunks() if "wonrouter" in chunk]
    return [warning["code"] for warning in notes[-1]["warnings"]] if notes else []


def splits(text: str) -> list[list[str]]:
    return [[piece for piece in (text[:cut], text[cut:]) if piece] for cut in range(len(text) + 1)] + [list(text)]


@pytest.mark.parametrize("number", NUMBERS)
async def test_every_split_point_of_every_vector(line: Line, provider: Provider, start: Start, number: str) -> None:
    worker = await start()
    text = f"계좌는 {number}입니다"
    expected = masked(text)

    async def one(pieces: list[str]) -> Heard:
        return await ask(line, worker, chat(f"[[mock {saying(*pieces)}]]", stream=True))

    for heard in await asyncio.gather(*map(one, splits(text))):
        assert heard.content() == expected
    assert {event.tokens.completion for event in line.events()} <= {1, 2, len(text)}


@pytest.mark.parametrize("number", NUMBERS)
async def test_every_split_point_in_bytes(line: Line, provider: Provider, start: Start, number: str) -> None:
    worker = await start()
    text = f"보험 {number}으로 😀"
    for behaviour in (f"split=1 {saying(*text)}", f"split=1 {saying(text)}", f"split=7 {saying(*text)}"):
        heard = await ask(line, worker, chat(f"[[mock {behaviour}]]", stream=True))
        assert heard.content().rstrip() == masked(text)


async def test_a_whole_answer_is_masked_kept_so_and_charged_as_before(
    line: Line, provider: Provider, start: Start
) -> None:
    worker = await start()
    text = "번호는 901010-1234567, kim@example.com"
    body = chat(f"[[mock {saying(*text)}]]", n=2)
    job = await line.place(body, mask_output=EVERY)
    await worker.run(job)
    heard = await line.ended(job)
    assert heard.final is not None
    answer = json.loads(heard.final.body)
    assert [choice["message"]["content"] for choice in answer["choices"]] == [masked(text)] * 2
    assert answer["wonrouter"]["warnings"][0]["code"] == "personal_data_masked"
    assert heard.final.masked == {"resident_number": 2, "email": 2}
    kept = line.client.get("wr:a:" + job)
    assert isinstance(kept, bytes)
    assert decode_final(line.kept_sealer.open(kept, job.encode())).body == heard.final.body
    plain = await line.place(body)
    await worker.run(plain)
    with_masking, without = line.events()
    assert with_masking.tokens == without.tokens and with_masking.won == without.won


async def test_streamed_usage_is_the_providers(line: Line, provider: Provider, start: Start) -> None:
    worker = await start()
    body = chat(f"[[mock {saying(*'901010-1234567 그리고 끝')}]]", stream=True, stream_options={"include_usage": True})
    heard = await ask(line, worker, body)
    job = await line.place(body)
    await worker.run(job)
    assert heard.content() == "901010-******* 그리고 끝" and told(heard) == ["personal_data_masked"]
    first, second = line.events()
    assert (first.tokens, first.won, first.estimated) == (second.tokens, second.won, False)


@pytest.mark.parametrize(
    ("model", "path", "provider_name"),
    [
        (MODEL, "", "openai"),
        (CLAUDE, "", "anthropic"),
        (GEMINI, "/v1beta", "google"),
        (GROK, "", "xai"),
        ("sandbox/echo", "", "sandbox"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_every_dialect_streamed_and_not(
    line: Line, provider: Provider, start: Start, model: str, path: str, provider_name: str, stream: bool
) -> None:
    here = deployment(
        provider.base_url + path, "d", model, provider=provider_name, upstream_model=model.partition("/")[2]
    )
    worker = await start([here])
    text = "주민번호 901010-1234567과 010-1234-5678"
    think = {"anthropic": "think=1", "google": "think=1", "xai": "flavour=xai think=2"}.get(provider_name, "")
    pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
    said = text if provider_name == "sandbox" else f"[[mock {think} {saying(*pieces)}]]"
    body = chat(said, stream=stream, max_tokens=200)
    heard = await ask(line, worker, body, models=[model])
    assert heard.final is not None and heard.final.status == 200, heard.final
    assert "1234567" not in heard.text and "1234-5678" not in heard.text
    if stream:
        assert heard.content().rstrip() == masked(text)
        deltas = [choice["delta"] for chunk in heard.chunks() for choice in chunk["choices"]]
        thought = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    else:
        message = json.loads(heard.final.body)["choices"][0]["message"]
        assert message["content"].rstrip() == masked(text)
        thought = message.get("reasoning_content") or ""
    if provider_name == "anthropic":
        assert thought == masked(text)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("shift", range(8))
async def test_arguments_of_tools_stay_valid_json(
    line: Line, provider: Provider, start: Start, stream: bool, shift: int
) -> None:
    worker = await start()
    text = "x" * shift + ' [[mock tool=look]] "901010-1234567" \\ kim@example.com, 4111 1111 1111 1111'
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    heard = await ask(line, worker, chat(text, stream=stream, tools=[tool]))
    assert heard.final is not None
    if stream:
        calls = [
            call for chunk in heard.chunks() for c in chunk["choices"] for call in c["delta"].get("tool_calls") or []
        ]
        arguments = "".join(call["function"].get("arguments") or "" for call in calls)
        assert [call["id"] for call in calls if call.get("id")] != [] and calls[0]["function"]["name"] == "look"
        assert {call["index"] for call in calls} == {0}
    else:
        arguments = json.loads(heard.final.body)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"echo": masked(text)}


async def test_every_choice_is_masked_by_itself(line: Line, provider: Provider, start: Start) -> None:
    worker = await start()
    heard = await ask(line, worker, chat(f"[[mock {saying(*'901010-1234567')}]]", stream=True, n=3))
    for index in range(3):
        choices = [c for chunk in heard.chunks() for c in chunk["choices"] if c["index"] == index]
        assert "".join(c["delta"].get("content") or "" for c in choices) == "901010-*******"
        assert choices[-1]["finish_reason"] == "stop"


async def test_ids_and_data_urls_pass(line: Line, provider: Provider, start: Start) -> None:
    worker = await start()
    text = "![](data:image/png;base64,9010101234567) 그리고 901010-1234567"
    heard = await ask(line, worker, chat(f"[[mock {saying(*text)}]]", stream=True))
    assert heard.content() == "![](data:image/png;base64,9010101234567) 그리고 901010-*******"
    assert heard.chunks()[0]["id"].startswith("chatcmpl-")


async def test_a_structured_answer_stays_valid_json(line: Line, provider: Provider, start: Start) -> None:
    worker = await start()
    text = json.dumps({"번호": 9010101234567, "메모": "901010-1234567"}, ensure_ascii=False)
    for stream in (True, False):
        body = chat(f"[[mock {saying(*text)}]]", stream=stream, response_format={"type": "json_object"})
        heard = await ask(line, worker, body)
        assert heard.final is not None
        content = heard.content() if stream else json.loads(heard.final.body)["choices"][0]["message"]["content"]
        assert json.loads(content) == {"번호": "901010*******", "메모": "901010-*******"}


async def test_a_continuation_goes_on_from_what_was_delivered(line: Line, provider: Provider, start: Start) -> None:
    """The cut falls into a number: the half that was held back was never delivered, and the next provider is told the
    delivered, masked text only."""
    provider.accounts["-bad"] = parse_behaviour(saying("앞 901010-1234567 ", "중간 M1234", "5678") + " cut=2")
    provider.accounts["good"] = parse_behaviour(saying("901010-", "1654321", " 끝"))
    pair = [
        deployment(provider.base_url, "bad", api_key="sk-bad"), deployment(provider.base_url, "good", api_key="sk-good"),
    ]  # fmt: skip
    worker = await start(pair, backoff_s=0.02)
    order = json.dumps({"order": ["bad", "good"]}).encode()
    heard = await ask(line, worker, chat("x", stream=True), routing=order)
    assert heard.content() == "앞 901010-******* 중간 901010-******* 끝"
    again = provider.log.calls[-1]
    assert again.account == "good"
    [event] = line.events()
    assert [share.reason for share in event.attempts][-1] == "ok"


async def test_a_broken_answer_never_shows_what_was_held_back(line: Line, provider: Provider, start: Start) -> None:
    worker = await start(backoff_s=0.01)
    provider.behaviour = parse_behaviour(saying(*"앞 901010-1234567") + " cut=12")
    heard = await ask(line, worker, chat("x", stream=True))
    assert heard.content() in ("앞 ", "앞 앞 ") and "9010" not in heard.text


async def test_without_the_setting_nothing_is_masked_and_nothing_is_built(
    line: Line, provider: Provider, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnswerMasking, "__init__", lambda *_: pytest.fail("masking was made"))
    worker = await start()
    job = await line.place(chat(f"[[mock {saying(*'901010-1234567')}]]", stream=True))
    await worker.run(job)
    assert (await line.ended(job)).content() == "901010-1234567"


def masking() -> AnswerMasking:
    return AnswerMasking(Policy.of(dict.fromkeys(KINDS, "mask")), structured=False)


def test_logprobs_are_dropped_with_a_warning() -> None:
    made = masking()
    shown, _ = made.delta(Delta(0, {"content": "안녕 "}, None, {"content": [{"token": "9010"}]}, True))
    assert shown is not None and shown.logprobs is None
    whole = made.whole([{"index": 0, "message": {"content": "a"}, "logprobs": {"content": [{"token": "x"}]}}])
    assert whole[0]["logprobs"] is None
    assert [warning.code for warning in made.warnings()] == ["logprobs_dropped"]


def test_every_field_that_carries_text_is_masked_and_nothing_else() -> None:
    number = "901010-1234567"
    fields: dict[str, Any] = {
        "content": number, "refusal": number, "reasoning_content": number, "reasoning": number,
        "audio": {"id": number, "transcript": number, "data": "AAAA"},
        "function_call": {"name": "f", "arguments": f'{{"a":"{number}"}}'},
        "reasoning_details": [{"index": 0, "type": "t", "text": number, "signature": number}],
        "annotations": [{"type": "url_citation", "url_citation": {"url": f"https://x/{number}", "title": number}}],
        "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{number}"}}],
        "tool_calls": [
            {"index": 0, "id": number, "type": "function", "function": {"name": "f", "arguments": f'"{number}"'}},
            {"index": 1, "id": "c", "type": "custom", "custom": {"name": "g", "input": number}},
        ],
    }  # fmt: skip
    made = masking()
    shown, _ = made.delta(Delta(0, dict(fields), "stop", None, True))
    assert shown is not None
    text = msgspec.json.encode(shown.delta).decode()
    whole = masking().whole([{"index": 0, "message": fields}])[0]["message"]
    kept = 5  # ids, signature, url, data URL
    assert text.count("1234567") == kept == json.dumps(whole).count("1234567")
    assert shown.delta["tool_calls"][0]["id"] == number
    searched = masking().extra({"citations": [f"https://x/{number}"], "system_fingerprint": number})
    assert searched["system_fingerprint"] == number and "1234567" not in searched["citations"][0]
