"""A job from its claim to its end, with a real Redis and a provider that can be told how to behave."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from gateway.catalogue.model import Quantities
from gateway.catalogue.pricing import charge
from gateway.credit import admission, running
from gateway.deployments.deployment import Deployment
from gateway.wire import keys
from gateway.wire.event import UsageEvent, decode_event
from gateway.wire.frame import ALIVE, CHUNK, FINAL, KEPT, Control, Frame, decode_final, encode_final
from tests.provider.dialects.openai import answer_text
from tests.provider.server import Provider
from tests.workers.line import (
    MODEL,
    REPLY,
    START_MICRO,
    TERMS,
    Heard,
    Line,
    chat,
    deployment,
    models_with,
    refused,
    started,
)
from workers.calls import CallWorker
from workers.metering import price_of

pytestmark = pytest.mark.anyio

Start = Callable[..., Awaitable[CallWorker]]


@pytest.fixture
async def start(line: Line, provider: Provider) -> AsyncIterator[Start]:
    """Starts workers; by default with one deployment at the mock."""
    made: list[CallWorker] = []

    async def begin(deployments: list[Deployment] | None = None, **changes: Any) -> CallWorker:
        chosen = [deployment(provider.base_url)] if deployments is None else deployments
        made.append(await started(line, chosen, **changes))
        return made[-1]

    yield begin
    for worker in made:
        await worker.drain(5)
        await worker.close()


def the_event(line: Line) -> UsageEvent:
    """The one usage event; nothing is held any more."""
    events = line.events()
    assert len(events) == 1
    window = line.window()
    assert (window.held_micro, window.slots) == (0, 0)
    assert window.balance_micro == START_MICRO - events[0].micro
    return events[0]


async def test_a_stream_arrives_whole_and_is_charged_to_the_token(line: Line, provider: Provider, start: Start) -> None:
    worker = await start()
    job = await line.place(chat("[[mock tokens=40 delay=1ms]]", stream=True, stream_options={"include_usage": True}))
    await worker.run(job)
    heard = await line.ended(job)
    assert heard.content() == answer_text(40)
    assert heard.text.endswith("data: [DONE]\n\n")
    chunks = heard.chunks()
    assert {chunk["id"] for chunk in chunks} == {"chatcmpl-" + job}
    assert {chunk["model"] for chunk in chunks} == {MODEL}
    assert len({chunk["created"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert chunks[-2]["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    call, event, usage = provider.log.calls[0], the_event(line), chunks[-1]["usage"]
    exact = charge(Quantities(prompt=call.prompt_tokens, completion=40), price_of(MODEL, TERMS), Decimal(TERMS.rate))
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (call.prompt_tokens, 40)
    assert Decimal(usage["cost_krw"]) == Decimal(event.won) == exact.exact
    assert usage["cost_krw"] == event.won
    assert Decimal(usage["cost_usd"]) * Decimal(TERMS.rate) == exact.exact
    assert event.micro == exact.micro
    assert (event.outcome, event.estimated, event.finish_reason) == ("complete", False, "stop")
    assert event.job == job
    attempt = event.attempts[0]
    assert attempt.upstream_id == call.id
    assert attempt.client_request_id == call.client_request_id == f"{job}.1.1"
    assert (attempt.billed, attempt.status, attempt.reason) == (True, 200, "ok")


async def test_usage_that_was_not_asked_for_stays_out_of_the_stream(line: Line, start: Start) -> None:
    worker = await start()
    job = await line.place(chat("[[mock tokens=3]]", stream=True))
    await worker.run(job)
    assert all("usage" not in chunk for chunk in (await line.ended(job)).chunks())
    assert the_event(line).tokens.completion == 3


async def test_a_whole_answer_keeps_the_providers_fields_under_our_id(line: Line, start: Start) -> None:
    worker = await start()
    job = await line.place(chat("[[mock tokens=3]]"))
    await worker.run(job)
    final = (await line.ended(job)).final
    assert final is not None and final.status == 200
    answer = json.loads(final.body)
    assert answer["id"] == "chatcmpl-" + job
    assert answer["model"] == MODEL
    assert answer["system_fingerprint"] == "fp_mock"
    assert answer["choices"][0]["message"]["content"] == answer_text(3)
    assert answer["choices"][0]["message"]["annotations"] == []
    assert answer["usage"]["cost_krw"] == the_event(line).won
    listed = final.headers["x-wonrouter-attempts"]
    assert re.fullmatch(r"openai/gpt-4o;provider=openai;reason=ok;ms=\d+;krw=[\d.]+;billed", listed), listed


async def test_every_choice_of_a_stream_opens_and_ends(line: Line, start: Start) -> None:
    worker = await start()
    job = await line.place(chat("[[mock tokens=4]]", stream=True, n=2))
    await worker.run(job)
    choices = [choice for chunk in (await line.ended(job)).chunks() for choice in chunk["choices"]]
    for index in (0, 1):
        mine = [choice for choice in choices if choice["index"] == index]
        assert mine[0]["delta"]["role"] == "assistant"
        assert mine[-1]["finish_reason"] == "stop"
        assert "".join(choice["delta"].get("content") or "" for choice in mine) == answer_text(4)


async def test_an_upstream_that_must_be_streamed_is_collected(line: Line, provider: Provider, start: Start) -> None:
    worker = await start(models=models_with(MODEL, quirks={"stream_only": True}))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    job = await line.place(chat("[[mock]] 안녕", tools=tools, tool_choice="required"))
    await worker.run(job)
    final = (await line.ended(job)).final
    assert final is not None
    choice = json.loads(final.body)["choices"][0]
    assert provider.log.calls[0].stream
    assert choice["finish_reason"] == "tool_calls"
    call = choice["message"]["tool_calls"][0]
    assert call["function"]["name"] == "f"
    assert json.loads(call["function"]["arguments"]) == {"echo": "[[mock]] 안녕"}


async def test_a_cancel_closes_the_provider_and_charges_what_was_delivered(
    line: Line, provider: Provider, start: Start
) -> None:
    worker = await start()
    provider.gate.close()
    job = await line.place(chat("가나다라 [[mock tokens=20 gate=5]]", stream=True))
    run = asyncio.create_task(worker.run(job))
    await line.until(lambda: "aae " in line.of(job).text)
    assert await admission.cancel(line.redis, job) == "asked"
    await run
    event = the_event(line)
    call = await asyncio.to_thread(lambda: provider.log.wait_for(lambda calls: calls[0].closed_early)[0])
    assert (event.outcome, event.estimated) == ("cancelled", True)
    assert event.tokens.completion == call.completion_tokens == 5
    assert 0 < event.tokens.prompt <= call.prompt_tokens
    assert event.attempts[0].reason == "cancelled"


async def test_a_stream_under_way_keeps_its_prompt_once(line: Line, provider: Provider, start: Start) -> None:
    """A hundred kilobytes are usual, an answer takes minutes, and there are five thousand of them."""
    worker = await start()
    provider.gate.close()

    async def kept(letters: int) -> int:
        """Bytes that are kept while a stream is under way whose prompt has that many, in whatever the tests do not own."""
        job = await line.place(chat("[[mock tokens=20 gate=5]]" + "x" * letters, stream=True))
        run = asyncio.create_task(worker.run(job))
        await line.until(lambda: "aae " in line.of(job).text)
        gc.collect()
        ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, "*/tests/*")])
        await admission.cancel(line.redis, job)
        await run
        return sum(trace.size for trace in ours.traces)

    tracemalloc.start(1)
    try:
        await kept(1)  # what the first one loads, stays
        little, much = await kept(1), await kept(1_000_000)
    finally:
        tracemalloc.stop()
    assert 900_000 < much - little < 1_500_000


async def test_what_a_disowned_call_delivered_is_not_charged(line: Line, provider: Provider, start: Start) -> None:
    worker = await start()
    provider.gate.close()
    job = await line.place(chat("가나다라 [[mock tokens=20 gate=5]]", stream=True))
    run = asyncio.create_task(worker.run(job))
    await line.until(lambda: "aae " in line.of(job).text)
    assert await admission.cancel(line.redis, job, free=True) == "asked"
    await run
    event = the_event(line)
    assert (event.outcome, event.error, event.micro, event.won) == ("cancelled", "admission_unheard", 0, "0")


async def test_a_call_that_was_disowned_while_its_worker_was_deaf_is_not_charged(
    line: Line, provider: Provider, start: Start
) -> None:
    worker = await start(heartbeat_s=60)
    provider.gate.close()
    job = await line.place(chat("가나다라 [[mock tokens=20 gate=5]]", stream=True))
    run = asyncio.create_task(worker.run(job))
    await line.until(lambda: "aae " in line.of(job).text)
    await line.redis.execute_command("HSET", keys.JOB_PREFIX + job, "cx", "free")  # its message was lost
    provider.gate.open()
    await run
    event = the_event(line)
    assert (event.outcome, event.error, event.micro, event.won) == ("cancelled", "admission_unheard", 0, "0")


async def test_a_cancel_before_the_first_token_costs_nothing(line: Line, provider: Provider, start: Start) -> None:
    worker = await start()
    provider.gate.close()
    job = await line.place(chat("[[mock gate=0]]", stream=True))
    run = asyncio.create_task(worker.run(job))
    await asyncio.to_thread(provider.log.wait_for, lambda _: provider.gate.waiting)
    await line.ask(worker.id, Control("cancel", job))
    await run
    event = the_event(line)
    assert (event.outcome, event.micro, event.won, event.parts) == ("cancelled", 0, "0", [])


async def test_frames_are_sent_again_from_any_number_even_after_the_end(line: Line, start: Start) -> None:
    worker = await start()
    job = await line.place(chat("[[mock tokens=6 delay=5ms]]", stream=True))
    await worker.run(job)
    heard = await line.ended(job)
    sent = [frame for frame in heard.frames if frame.kind in (0, FINAL)]
    assert [frame.seq for frame in sent] == list(range(len(sent)))
    await line.ask(worker.id, Control("resend", job, 2, keys.reply("test")))

    def again() -> list[Frame]:
        return [frame for frame in heard.frames if frame.kind != ALIVE][len(sent) :]

    await line.until(lambda: len(again()) >= len(sent) - 2)
    assert again() == sent[2:]


async def test_a_worker_that_lost_its_lease_writes_and_publishes_nothing_more(
    line: Line, provider: Provider, start: Start
) -> None:
    worker = await start(heartbeat_s=0.5)
    provider.gate.close()
    job = await line.place(chat("[[mock tokens=20 gate=5]]", stream=True))
    run = asyncio.create_task(worker.run(job))
    await line.until(lambda: "aae " in line.of(job).text)
    assert (await line.taken_over(job)).epoch == 2
    await run
    assert line.events() == []
    frames = [frame for frame in line.of(job).frames if frame.kind != 3]
    assert all(frame.kind != FINAL for frame in frames)
    call = await asyncio.to_thread(lambda: provider.log.wait_for(lambda calls: calls[0].closed_early)[0])
    assert call.completion_tokens == 5


async def test_the_next_worker_lists_the_attempts_of_the_one_that_died(
    line: Line, provider: Provider, start: Start
) -> None:
    first = await start(heartbeat_s=0.5)
    provider.gate.close()
    job = await line.place(chat("[[mock tokens=3 gate=0]]", stream=True))
    run = asyncio.create_task(first.run(job))
    await asyncio.to_thread(provider.log.wait_for, lambda _: provider.gate.waiting)
    second = await start()

    async def take_over() -> None:
        while not line.events():  # once more where the first has renewed its lease in between
            line.client.zadd(keys.LEASES, {job: 1})
            await second.run(job)

    again = asyncio.create_task(take_over())
    await asyncio.to_thread(provider.log.wait_for, lambda calls: len(calls) == 2)
    await run  # it learns that the job is another's, and writes nothing
    provider.gate.open()
    await again
    event = the_event(line)
    assert (await line.ended(job)).content() == answer_text(3)
    told = [(a.epoch, a.client_request_id, a.reason, a.billed) for a in event.attempts]
    assert told == [(1, f"{job}.1.1", "worker_lost", False), (2, f"{job}.2.1", "ok", True)]


async def test_an_epoch_without_a_record_is_listed_all_the_same(line: Line, start: Start) -> None:
    job = await line.place(chat("[[mock tokens=3]]"))
    await running.claim(line.redis, job, "dead", 0)
    worker = await start()
    await worker.run(job)
    told = [(a.epoch, a.client_request_id, a.reason) for a in the_event(line).attempts]
    assert told == [(1, f"{job}.1.1", "worker_lost"), (2, f"{job}.2.1", "ok")]


async def test_attempts_reach_redis_before_the_provider_has_answered(
    line: Line, provider: Provider, start: Start
) -> None:
    worker = await start(heartbeat_s=30.0)
    provider.gate.close()
    job = await line.place(chat("[[mock tokens=3 gate=0]]", stream=True))
    run = asyncio.create_task(worker.run(job))
    await asyncio.to_thread(provider.log.wait_for, lambda _: provider.gate.waiting)
    assert await line.field(job, "att")
    provider.gate.open()
    await run


async def test_a_dead_workers_checkpoint_is_charged_as_estimated(line: Line, provider: Provider, start: Start) -> None:
    worker = await start()
    provider.gate.close()
    job = await line.place(chat("hello there [[mock tokens=20 gate=7]]", stream=True))
    run = asyncio.create_task(worker.run(job))
    checkpoint = decode_event(await line.field(job, "ck", lambda raw: raw and decode_event(raw).tokens.completion == 7))
    assert (checkpoint.estimated, checkpoint.outcome, checkpoint.tokens.completion) == (True, "expired", 7)
    assert 0 < checkpoint.tokens.prompt <= provider.log.calls[0].prompt_tokens
    assert int(line.client.hget("wr:j:" + job, "ckm")) == checkpoint.micro > 0
    assert checkpoint.attempts[0].upstream_id == provider.log.calls[0].id
    assert checkpoint.attempts[0].billed
    run.cancel()


async def test_nobody_listening_ends_the_call(line: Line, provider: Provider, start: Start) -> None:
    worker = await start()
    provider.gate.close()
    job = await line.place(chat("[[mock tokens=20 gate=5]]", stream=True))
    run = asyncio.create_task(worker.run(job))
    await line.until(lambda: "aae " in line.of(job).text)
    await line.deafen()
    async with asyncio.timeout(60):
        await run
    event = the_event(line)
    assert (event.outcome, event.error, event.tokens.completion) == ("cancelled", "nobody_listened", 5)


@pytest.mark.parametrize(
    ("behaviour", "status", "source"),
    [
        ("error=400", 400, "provider"),
        ("error=429", 429, "provider"),
        ("error=500", 500, "provider"),
        ("error=503", 503, "provider"),
        ("error=401", 502, "gateway"),
        ("error=402", 502, "gateway"),
        ("error=403", 502, "gateway"),
        ("garbage", 502, "gateway"),
        ("cut=0", 502, "gateway"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_token_is_told_truthfully_and_costs_nothing(
    line: Line, start: Start, behaviour: str, status: int, source: str, stream: bool
) -> None:
    worker = await start()
    job = await line.place(chat(f"[[mock {behaviour}]]", stream=stream))
    await worker.run(job)
    final = (await line.ended(job)).final
    assert final is not None
    assert (final.status, final.source, final.charged) == (status, source, False)
    error = json.loads(final.body)["error"]
    if source == "provider":
        assert error["message"] == f"mock error {status}"
    else:
        assert error["code"] == "provider_unavailable"
    event = the_event(line)
    assert (event.outcome, event.micro, event.tokens.prompt, event.parts) == ("failed", 0, 0, [])
    assert all(not attempt.billed for attempt in event.attempts)


async def test_an_error_of_one_deployment_is_another_deployments_answer(
    line: Line, provider: Provider, start: Start
) -> None:
    broken = deployment(provider.base_url, "broken", upstream_model="gpt-4o@error=500", api_key="sk-broken")
    worker = await start([broken, deployment(provider.base_url, "sound")])
    for _ in range(2):  # whichever comes first
        job = await line.place(chat("[[mock tokens=2]] hi", stream=True))
        line.client.delete(keys.USAGE)
        await worker.run(job)
        assert (await line.ended(job)).final is not None
    reasons = [[(a.deployment, a.reason, a.billed) for a in event.attempts] for event in line.events()]
    assert all(attempts[-1][1] == "ok" or attempts[-1][0] == "sound" for attempts in reasons)


async def test_a_blip_is_retried_once_on_the_only_deployment(line: Line, provider: Provider, start: Start) -> None:
    worker = await start()
    job = await line.place(chat("[[mock error=500]]"))
    await worker.run(job)
    event = the_event(line)
    assert [a.client_request_id for a in event.attempts] == [f"{job}.1.1", f"{job}.1.2"]
    assert [a.reason for a in event.attempts] == ["server", "server"]


async def test_a_bad_request_is_never_sent_twice(line: Line, provider: Provider, start: Start) -> None:
    worker = await start([deployment(provider.base_url, "a"), deployment(provider.base_url, "b")])
    job = await line.place(chat("[[mock error=400]]"))
    await worker.run(job)
    assert len(provider.log.calls) == 1


@pytest.mark.parametrize("behaviour", ["cut=5", "stall=5"])
async def test_an_answer_that_breaks_off_is_an_error_and_never_an_end(
    line: Line, provider: Provider, start: Start, behaviour: str
) -> None:
    worker = await start(idle_timeout_s=0.3)
    structured = {"type": "json_object"}  # nobody can go on with half an object
    job = await line.place(
        chat(f"hello [[mock tokens=20 delay=2ms {behaviour}]]", stream=True, response_format=structured)
    )
    await worker.run(job)
    heard = await line.ended(job)
    final = heard.final
    assert final is not None
    assert (final.status, final.charged) == (502, True)
    assert json.loads(final.body)["error"]["code"] == "stream_interrupted"
    assert "[DONE]" not in heard.text
    assert '"finish_reason":"' not in heard.text
    event = the_event(line)
    assert (event.outcome, event.estimated) == ("failed", True)
    assert 0 < event.tokens.completion <= 5, "fewer, where the machine stalls before the mock does"
    assert heard.content() == answer_text(event.tokens.completion)
    assert event.attempts[-1].reason in ("cut", "stalled")


async def test_silence_before_the_first_token_ends_in_time(line: Line, start: Start) -> None:
    worker = await start(first_token_timeout_s=0.3)
    job = await line.place(chat("[[mock stall=0]]", stream=True))
    await worker.run(job)
    final = (await line.ended(job)).final
    assert final is not None and final.status == 502
    assert [a.reason for a in the_event(line).attempts] == ["timeout"]


@pytest.mark.parametrize("stream", [False, True])
async def test_missing_usage_is_estimated_in_the_customers_favour(
    line: Line, provider: Provider, start: Start, stream: bool
) -> None:
    worker = await start()
    job = await line.place(chat("안녕하세요 여러분 [[mock tokens=30 usage=false]]", stream=stream))
    await worker.run(job)
    event, call = the_event(line), provider.log.calls[0]
    assert event.estimated
    assert 0 < event.tokens.prompt <= call.prompt_tokens
    assert 0 < event.tokens.completion <= call.completion_tokens
    assert event.micro > 0


@pytest.mark.parametrize("stream", [False, True])
async def test_an_empty_answer_costs_its_input(line: Line, provider: Provider, start: Start, stream: bool) -> None:
    worker = await start()
    job = await line.place(chat("[[mock tokens=0]]", stream=stream))
    await worker.run(job)
    event, call = the_event(line), provider.log.calls[0]
    due = charge(Quantities(prompt=call.prompt_tokens, completion=0), price_of(MODEL, TERMS), Decimal(TERMS.rate))
    assert (event.outcome, event.tokens.completion, Decimal(event.won)) == ("complete", 0, due.exact)
    assert due.exact > 0


async def test_a_strict_charge_never_passes_its_hold(line: Line, start: Start) -> None:
    worker = await start()
    one_token_micro = 14_006_000_000 // 1_000_000  # 10 USD per 1M x 1400.60 won
    job = await line.place(
        chat("[[mock tokens=50]]"), policy="strict", cap=50, input_micro=1_000, unit_micro=one_token_micro // 10
    )
    await worker.run(job)
    event = the_event(line)
    assert event.micro <= 1_000 + 50 * (one_token_micro // 10)
    assert Decimal(event.loss_won) > 0
    assert Decimal(event.won) == sum(Decimal(part.won) for part in event.parts)
    part = event.parts[0]
    usd = part.prompt * Decimal(part.input_usd) + part.completion * Decimal(part.output_usd)
    assert Decimal(part.won) == usd * Decimal(part.rate) / 1_000_000
    final = (await line.ended(job)).final
    assert final is not None
    assert json.loads(final.body)["usage"]["cost_krw"] == event.won


async def test_a_strict_cap_is_always_sent(line: Line, provider: Provider, start: Start) -> None:
    worker = await start()
    job = await line.place(chat("[[mock tokens=500]]", stream=True), policy="strict", cap=20)
    await worker.run(job)
    assert provider.log.calls[0].completion_tokens == 20
    assert the_event(line).finish_reason == "length"


async def test_an_optimistic_hold_grows_with_its_answer(line: Line, start: Start) -> None:
    worker = await start(models=models_with(MODEL, default_output_cap=100))
    job = await line.place(chat("[[mock tokens=300 delay=1ms]]", stream=True), cap=100)
    await worker.run(job)
    assert (await line.ended(job)).content() == answer_text(300)
    assert the_event(line).tokens.completion == 300


async def test_a_refused_extension_ends_the_answer_with_its_reason(
    line: Line, provider: Provider, start: Start
) -> None:
    worker = await start(models=models_with(MODEL, default_output_cap=40))
    provider.gate.close()
    job = await line.place(chat("[[mock tokens=3000 gate=60 stall=61]]", stream=True), cap=40)
    line.client.hset("wr:j:" + job, "lim", "1 0 -1")  # the month's limit is reached meanwhile
    run = asyncio.create_task(worker.run(job))
    await refused(worker, run)
    provider.gate.open()
    await run
    heard = await line.ended(job)
    last = heard.chunks()[-1]
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["wonrouter"]["warnings"][0]["code"] == "credit_limit_exceeded"
    event = the_event(line)
    assert event.estimated
    assert 40 <= event.tokens.completion <= 61


async def test_a_large_answer_goes_through_its_key(line: Line, start: Start) -> None:
    worker = await start()
    job = await line.place(chat("[[mock tokens=40 pad=10000]]"))
    await worker.run(job)
    heard = await line.ended(job)
    assert [f.kind for f in heard.frames if f.kind != 3] == [KEPT]
    kept = line.client.get(keys.kept(job))
    final = decode_final(line.kept_sealer.open(kept, job.encode()))
    assert json.loads(final.body)["choices"][0]["message"]["content"] == answer_text(40, 10000)


@pytest.mark.parametrize("deaf", ["from the beginning", "at the end", "never"])
async def test_a_stream_that_nobody_heard_is_kept_whole(
    line: Line, provider: Provider, start: Start, deaf: str
) -> None:
    worker = await start(nobody_listens_s=60.0)
    provider.gate.close()
    job = await line.place(chat("[[mock tokens=9 gate=4]]", stream=True))
    run = asyncio.create_task(worker.run(job))
    await line.until(lambda: "aad " in line.of(job).text)
    if deaf == "from the beginning":
        worker.publisher.heard(REPLY, 0)
    elif deaf == "at the end":
        line.client.hset("wr:j:" + job, "reply", "nobody's")
        worker.room.leases.calls()[0].reply = "nobody's"
    provider.gate.open()
    await run
    await worker.room.redis.execute_command("PING")  # after whatever was still to be kept
    sealed = line.client.get(keys.kept(job))
    final = decode_final(line.kept_sealer.open(sealed, job.encode()))
    if deaf == "never":
        assert final.before == -1
        assert "aad " not in final.body.decode()
    else:
        assert Heard([Frame(job, 1, 0, FINAL, encode_final(final))]).content() == answer_text(9)
        assert final.body[final.before :].startswith(b"data: ")
        assert 0 < final.before < len(final.body)


async def test_a_model_without_a_deployment_says_what_to_configure(line: Line, start: Start) -> None:
    worker = await start([])
    job = await line.place(chat("hi"))
    await worker.run(job)
    final = (await line.ended(job)).final
    assert final is not None and final.status == 503
    assert "deployments apply" in json.loads(final.body)["error"]["message"]
    assert the_event(line).micro == 0


async def test_domestic_only_jobs_never_leave_the_country(line: Line, provider: Provider, start: Start) -> None:
    abroad = deployment(provider.base_url, "abroad")
    home = deployment(provider.base_url, "home", domestic=True)
    worker = await start([abroad, home])
    for _ in range(4):
        job = await line.place(chat("[[mock tokens=1]]"), domestic_only=True)
        await worker.run(job)
    assert {event.deployment for event in line.events()} == {"home"}


async def test_a_job_claimed_too_often_tells_its_client(line: Line, start: Start) -> None:
    worker = await start()
    job = await line.place(chat("hi"))
    for _ in range(running.MOST_EPOCHS):
        await running.claim(line.redis, job, "dying", 0)
    await worker.run(job)
    final = (await line.ended(job)).final
    assert final is not None and final.status == 500
    assert len(line.events()) == 1


async def test_an_unreadable_job_is_ended_free_of_charge(line: Line, start: Start) -> None:
    worker = await start()
    job = await line.place(chat("hi"))
    line.client.set("wr:b:" + job, b"\x01 not sealed by anybody we know", keepttl=True)
    await worker.run(job)
    final = (await line.ended(job)).final
    assert final is not None and final.status == 500
    assert line.rows()[0][b"micro"] == b"0"
    assert line.window().slots == 0


async def test_heartbeats_name_the_worker_and_the_last_number(line: Line, provider: Provider, start: Start) -> None:
    worker = await start()
    provider.gate.close()
    job = await line.place(chat("[[mock tokens=9 gate=4]]", stream=True))
    run = asyncio.create_task(worker.run(job))
    await line.until(lambda: "aad " in line.of(job).text)
    last = max(frame.seq for frame in line.of(job).frames if frame.kind == CHUNK)
    await line.until(lambda: line.alive(job) and line.alive(job)[-1].seq >= last)
    frame = line.alive(job)[-1]
    assert (frame.data.decode(), frame.seq) == (worker.id, last)
    provider.gate.open()
    await run


async def test_a_drained_worker_hands_unanswered_calls_to_another(line: Line, provider: Provider, start: Start) -> None:
    first = await start()
    provider.gate.close()
    quiet = await line.place(chat("[[mock tokens=3 gate=0]]", stream=True))
    speaking = await line.place(chat("[[mock tokens=9 gate=4]]", stream=True))
    runs = [asyncio.create_task(first.run(job)) for job in (quiet, speaking)]
    await line.until(lambda: "aad " in line.of(speaking).text and provider.gate.waiting == 2)
    line.client.delete(keys.CALL_QUEUE)
    await first.drain(0.0)
    await asyncio.gather(*runs)
    messages = line.client.lrange(keys.CALL_QUEUE, 0, -1)
    assert sum(quiet.encode() in message for message in messages) == 1  # the other one is for whoever waits
    provider.gate.open()
    second = await start()
    await second.run(quiet)
    assert (await line.ended(quiet)).content() == answer_text(3)
    final = (await line.ended(speaking)).final
    assert final is not None and (final.status, final.charged) == (503, True)
    assert {event.job for event in line.events()} == {quiet, speaking}


async def test_a_thousand_streams_run_at_once_on_one_worker(line: Line, provider: Provider, start: Start) -> None:
    worker = await start(lease_s=60.0, heartbeat_s=0.5)
    provider.gate.close()
    jobs = [await line.place(chat("[[mock tokens=4 gate=2]]", stream=True)) for _ in range(1000)]
    runs = [asyncio.create_task(worker.run(job)) for job in jobs]
    await line.until(lambda: len(line.speaking) == 1000, 60)
    await asyncio.to_thread(provider.log.wait_for, lambda _: provider.gate.waiting == 1000)
    provider.gate.open()
    await asyncio.gather(*runs)
    assert all([(await line.ended(job)).content() == answer_text(4) for job in jobs])
    assert len(line.events()) == 1000
    assert line.window().slots == 0
