"""Every fault of docs/routing.md's table, streamed: what the caller gets, and what the provider sees."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gateway.deployments.deployment import Deployment
from gateway.deployments.store import sandbox_deployments
from gateway.wire.event import UsageEvent
from tests.provider.behaviour import parse_behaviour
from tests.provider.dialects.openai import answer_text
from tests.provider.server import Provider
from tests.provider.silence import limits_met_by
from tests.workers.line import MODEL, Heard, Line, chat, deployment, models_with, started
from workers.calls import CallWorker

pytestmark = pytest.mark.anyio

Start = Callable[..., Awaitable[CallWorker]]
ANSWER = 24


@pytest.fixture
async def start(line: Line, provider: Provider) -> AsyncIterator[Start]:
    """Starts workers over a faulty deployment `bad`, tried first, and a sound one, `good`."""
    provider.accounts["good"] = parse_behaviour(f"tokens={ANSWER} repeat=6")
    made: list[CallWorker] = []

    async def begin(fault: str, deployments: list[Deployment] | None = None, **changes: Any) -> CallWorker:
        provider.accounts["-bad"] = parse_behaviour(f"tokens={ANSWER} repeat=6 {fault}")
        limits: dict[str, Any] = {"backoff_s": 0.02, "alone_patience": 100.0, "rate_limit_s": 60.0, **changes}
        made.append(await started(line, deployments or pair(provider, fault), **limits))
        return made[-1]

    yield begin
    for worker in made:
        await worker.drain(5)
        await worker.close()


def pair(provider: Provider, fault: str = "") -> list[Deployment]:
    options = limits_met_by(fault, first_s=0.3, idle_s=0.3, total_s=1.0)
    return [
        deployment(provider.base_url, "bad", api_key="sk-bad", options=options),
        deployment(provider.base_url, "good", api_key="sk-good"),
    ]


async def ask(line: Line, worker: CallWorker, on: tuple[str, ...] = (MODEL,), **more: Any) -> tuple[Heard, UsageEvent]:
    order = json.dumps({"order": ["bad", "good"]}).encode()
    body = chat("hello", stream=True, stream_options={"include_usage": True}, **more)
    job = await line.place(body, models=on, routing=order)
    await worker.run(job)
    heard = await line.ended(job)
    return heard, line.events()[-1]


def asked(provider: Provider, account: str) -> int:
    return sum(call.account == account for call in provider.log.calls)


def reasons(event: UsageEvent) -> list[tuple[str, str]]:
    return [(a.deployment, a.reason) for a in event.attempts]


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("error=429 retry_after=60", ["rate_limited"]),
        ("error=429 retry_after=0.1 times=9", ["rate_limited", "rate_limited"]),
        ("error=429", ["rate_limited"] * 3),
        ("error=500", ["server", "server"]),
        ("error=502", ["server", "server"]),
        ("error=503", ["server", "server"]),
        ("error=529", ["overloaded", "overloaded"]),
        ("error=401", ["credentials"]),
        ("cut=0", ["connect"]),
        ("garbage", ["cut"]),
        ("ending=none tokens=0", ["cut"]),
    ],
)
async def test_a_fault_before_the_answer_is_somebody_elses_answer(
    line: Line, provider: Provider, start: Start, fault: str, seen: list[str]
) -> None:
    heard, event = await ask(line, await start(fault))
    assert heard.content() == answer_text(ANSWER)
    assert heard.text.endswith("data: [DONE]\n\n")
    found = reasons(event)
    assert found[-1] == ("good", "ok")
    assert [name for name, _ in found[:-1]] == ["bad"] * (len(found) - 1)
    assert asked(provider, "-bad") == len(seen)
    assert len(found) == len(seen) + 1
    assert [a.billed for a in event.attempts] == [False] * len(seen) + [True]
    assert (event.outcome, event.estimated, event.tokens.completion) == ("complete", False, ANSWER)


async def test_a_blip_is_answered_by_the_same_deployment(line: Line, provider: Provider, start: Start) -> None:
    heard, event = await ask(line, await start("error=500 times=1"))
    assert heard.content() == answer_text(ANSWER)
    assert reasons(event) == [("bad", "server"), ("bad", "ok")]


@pytest.mark.parametrize("fault", ["stall=0", "first=60s"])
async def test_who_is_silent_is_overtaken_and_not_asked_again(
    line: Line, provider: Provider, start: Start, fault: str
) -> None:
    heard, event = await ask(line, await start(fault))
    assert heard.content() == answer_text(ANSWER)
    assert sorted(reasons(event)) == [("bad", "slower"), ("good", "ok")]
    assert [a.billed for a in event.attempts if a.deployment == "bad"] == [False]
    assert asked(provider, "-bad") == 1


async def test_who_is_slow_wins_where_the_other_is_slower(line: Line, provider: Provider, start: Start) -> None:
    hedged = [
        deployment(provider.base_url, "bad", api_key="sk-bad", options={"first_token_timeout_s": "0.3"}),
        deployment(provider.base_url, "good", api_key="sk-good"),
    ]
    worker = await start("gate=0", hedged)
    provider.accounts["good"] = parse_behaviour(f"tokens={ANSWER} first=60s")
    provider.gate.close()
    asking = asyncio.create_task(ask(line, worker))
    await asyncio.to_thread(provider.log.wait_for, lambda calls: any(call.account == "good" for call in calls))
    provider.gate.open()
    heard, event = await asking
    assert heard.content() == answer_text(ANSWER)
    assert sorted(reasons(event)) == [("bad", "ok"), ("good", "slower")]


@pytest.mark.parametrize("fault", ["cut=9", "stall=9", "fail_at=9", "ending=none", "cut=1", "cut=23", "unreadable=9"])
@pytest.mark.parametrize("way", ["none", "assistant", "partial"])
async def test_a_broken_answer_is_gone_on_with_to_its_end(line: Line, start: Start, fault: str, way: str) -> None:
    worker = await start(fault, models=models_with(MODEL, quirks={"prefill": way}))
    heard, event = await ask(line, worker)
    assert heard.content() == answer_text(ANSWER)
    assert heard.text.endswith("data: [DONE]\n\n")
    assert [deployment for deployment, _ in reasons(event)] == ["bad", "good"]
    assert event.tokens.completion == ANSWER
    assert [(part.completion, part.model) for part in event.parts] == [(ANSWER, MODEL)]
    assert event.finish_reason == "stop"
    notes = heard.chunks()[-1]["wonrouter"]["attempts"]
    assert [(note["reason"], note["billed"]) for note in notes][1:] == [("ok", True)]


async def test_the_only_deployment_goes_on_with_its_own_broken_answer(
    line: Line, provider: Provider, start: Start
) -> None:
    worker = await start("cut=9 times=1", [deployment(provider.base_url, "bad", api_key="sk-bad")])
    heard, event = await ask(line, worker)
    assert heard.content() == answer_text(ANSWER)
    assert reasons(event) == [("bad", "cut"), ("bad", "ok")]


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
    ],
)
async def test_what_nobody_can_go_on_with_is_an_error_and_never_an_end(
    line: Line, start: Start, more: dict[str, Any]
) -> None:
    heard, event = await ask(line, await start("cut=2"), **more)
    assert heard.final is not None and heard.final.status == 502
    assert json.loads(heard.final.body)["error"]["code"] == "stream_interrupted"
    assert "[DONE]" not in heard.text
    assert (event.outcome, event.error) == ("failed", "stream_interrupted")


async def test_an_unreadable_event_is_skipped_and_told_where_nobody_else_is(
    line: Line, provider: Provider, start: Start
) -> None:
    worker = await start("unreadable=9", [deployment(provider.base_url, "bad", api_key="sk-bad")])
    heard, _ = await ask(line, worker)
    assert heard.content() == answer_text(ANSWER)
    assert [w["code"] for w in heard.chunks()[-1]["wonrouter"]["warnings"]] == ["unreadable_event"]


async def test_a_missing_last_event_is_no_fault(line: Line, provider: Provider, start: Start) -> None:
    heard, event = await ask(line, await start("ending=bare"))
    assert heard.content() == answer_text(ANSWER)
    assert reasons(event) == [("bad", "ok")]
    assert event.tokens.completion == ANSWER


async def test_a_policy_refusal_is_told_as_it_came_and_asked_nowhere_else(
    line: Line, provider: Provider, start: Start
) -> None:
    provider.accounts["good"] = parse_behaviour("tokens=3")
    heard, event = await ask(line, await start("error=400"))
    assert heard.final is not None and (heard.final.status, heard.final.source) == (400, "provider")
    assert asked(provider, "good") == 0
    assert event.micro == 0


async def test_an_output_limit_holds_over_a_continuation(line: Line, start: Start) -> None:
    worker = await start("cut=9", models=models_with(MODEL, quirks={"prefill": "assistant"}))
    heard, event = await ask(line, worker, max_tokens=15)
    assert heard.content() == answer_text(15)
    assert (event.finish_reason, event.tokens.completion) == ("length", 15)


@pytest.mark.parametrize("prefill", ["none", "assistant"])
async def test_a_long_answer_goes_on_where_it_broke(prefill: str, line: Line, provider: Provider, start: Start) -> None:
    """What has been delivered is put together as it grows."""
    worker = await start("tokens=200 cut=150", models=models_with(MODEL, quirks={"prefill": prefill}))
    provider.accounts["good"] = parse_behaviour("tokens=200 repeat=6")
    heard, event = await ask(line, worker)
    assert heard.content() == answer_text(200)
    assert (event.finish_reason, event.tokens.completion) == ("stop", 200)


async def test_an_answer_goes_on_in_another_dialect(line: Line, provider: Provider, start: Start) -> None:
    sonnet = "anthropic/claude-sonnet-4"
    native = deployment(
        provider.native_url, "good", sonnet, provider="anthropic", upstream_model="claude-sonnet-4", api_key="sk-good"
    )
    bad = deployment(provider.base_url, "bad", api_key="sk-bad")
    worker = await start("cut=9", [bad, native])
    heard, event = await ask(line, worker, on=(MODEL, sonnet))
    assert heard.content() == answer_text(ANSWER)
    assert [(part.model, part.completion) for part in event.parts] == [(MODEL, 9), (sonnet, ANSWER - 9)]


async def test_a_prefill_that_is_refused_becomes_a_request_in_words(
    line: Line, provider: Provider, start: Start
) -> None:
    worker = await start("cut=9", models=models_with(MODEL, quirks={"prefill": "partial"}))
    provider.accounts["good"] = parse_behaviour(f"tokens={ANSWER} repeat=6 error=400 times=1")
    heard, event = await ask(line, worker)
    assert heard.content() == answer_text(ANSWER)
    assert reasons(event) == [("bad", "cut"), ("good", "bad_request"), ("good", "ok")]


async def test_attempts_for_one_request_are_bounded(line: Line, provider: Provider, start: Start) -> None:
    many = [deployment(provider.base_url, f"d{i}", api_key="sk-bad") for i in range(9)]
    _, event = await ask(line, await start("error=503", many, most_attempts=4))
    assert len(event.attempts) == len(provider.log.calls) == 4


async def test_the_sandboxs_cut_breaks_off_without_repeating_itself_and_opens_no_breaker(
    line: Line, start: Start
) -> None:
    worker = await start("", sandbox_deployments(), breaker_failures=1)
    said = "one two three four five six seven eight"
    for _ in range(2):
        body = {"model": "sandbox/error-cut", "messages": [{"role": "user", "content": said}], "stream": True}
        job = await line.place(body, models=("sandbox/error-cut",))
        await worker.run(job)
        heard = await line.ended(job)
        assert said.startswith(heard.content().strip()) and heard.content()
        assert heard.final is not None and heard.final.status == 502
        await worker.room.turns.exchange()


async def test_a_job_that_was_lost_meanwhile_is_asked_for_nowhere_else(
    line: Line, provider: Provider, start: Start
) -> None:
    worker = await start("gate=5 cut=5", heartbeat_s=60.0)  # no heartbeat says that the lease was lost
    provider.gate.close()
    order = json.dumps({"order": ["bad", "good"]}).encode()
    job = await line.place(chat("hello", stream=True), routing=order)
    run = asyncio.create_task(worker.run(job))
    await line.until(lambda: "aae " in line.of(job).text)
    await line.taken_over(job)
    provider.gate.open()
    await run
    assert (asked(provider, "-bad"), asked(provider, "good")) == (1, 0)
    assert line.events() == []
