"""A request that failed over, was hedged or continued is charged as one undisturbed call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from gateway.money import EXACT
from gateway.wire.event import UsageEvent
from gateway.wire.job import JobTerms
from tests.provider.behaviour import parse_behaviour
from tests.provider.dialects.openai import answer_text
from tests.provider.server import Provider
from tests.provider.silence import limits_met_by
from tests.workers.line import MODEL, START_MICRO, TERMS, Line, chat, deployment, models_with, started
from workers.calls import CallWorker

pytestmark = pytest.mark.anyio

OTHER = "openai/gpt-4o-mini"
ANSWER = 30
DEARER = JobTerms("price-2", "rate-1", "25", "100", None, None, None, "1400.60")
CHEAPER = JobTerms("price-3", "rate-1", "0.15", "0.6", None, None, None, "1400.60")

Run = Callable[..., Awaitable[tuple[str, UsageEvent, dict[str, Any]]]]


@pytest.fixture
async def run(line: Line, provider: Provider) -> AsyncIterator[Run]:
    """Runs one call whose first model breaks as told and whose fallback is sound; gives text, event and usage."""
    made: list[CallWorker] = []

    async def go(
        fault: str, terms: JobTerms, stand_in: JobTerms, prefill: str = "assistant", text: str = "hello", **job: Any
    ) -> tuple[str, UsageEvent, dict[str, Any]]:
        provider.accounts["-bad"] = parse_behaviour(f"tokens={ANSWER} {fault}")
        provider.accounts["good"] = parse_behaviour(f"tokens={ANSWER} repeat=6")
        limits = limits_met_by(fault, first_s=0.3, idle_s=0.3, total_s=1.0)
        both = [
            deployment(provider.base_url, "bad", api_key="sk-bad", options=limits),
            deployment(provider.base_url, "good", OTHER, api_key="sk-good", upstream_model="gpt-4o-mini"),
        ]
        models = models_with(OTHER, quirks={"prefill": prefill})
        made.append(await started(line, both, models, alone_patience=100.0, backoff_s=0.02))
        body = chat(text, stream=True, stream_options={"include_usage": True})
        placed = await line.place(body, models=(MODEL, OTHER), terms={MODEL: terms, OTHER: stand_in}, **job)
        await made[-1].run(placed)
        heard = await line.ended(placed)
        event = line.events()[-1]
        assert line.window().balance_micro == START_MICRO - sum(each.micro for each in line.events())
        return heard.content(), event, heard.chunks()[-1]["usage"]

    yield go
    for worker in made:
        await worker.drain(5)
        await worker.close()


def won(terms: JobTerms, prompt: int, completion: int, long: bool = False) -> Decimal:
    """The charge by hand."""
    input_usd, output_usd = terms.input_usd, terms.output_usd
    if long:
        assert terms.over_input_usd is not None and terms.over_output_usd is not None
        input_usd, output_usd = terms.over_input_usd, terms.over_output_usd
    usd_micro = EXACT.add(EXACT.multiply(Decimal(input_usd), prompt), EXACT.multiply(Decimal(output_usd), completion))
    return EXACT.multiply(usd_micro, Decimal(terms.rate)).scaleb(-6, EXACT)


@pytest.mark.parametrize("prefill", ["assistant", "none"])
@pytest.mark.parametrize("stand_in", [DEARER, CHEAPER], ids=["dearer", "cheaper"])
@pytest.mark.parametrize("at", [1, 15, ANSWER - 1])
async def test_a_cut_answer_costs_the_input_once_and_each_token_at_its_own_models_price(
    run: Run, provider: Provider, at: int, stand_in: JobTerms, prefill: str
) -> None:
    text, event, usage = await run(f"cut={at}", TERMS, stand_in, prefill)
    assert text == answer_text(ANSWER)
    prompt = provider.log.calls[0].prompt_tokens
    assert (event.tokens.prompt, event.tokens.completion) == (prompt, ANSWER)
    assert [(p.model, p.prompt, p.completion) for p in event.parts] == [(MODEL, prompt, at), (OTHER, 0, ANSWER - at)]
    expected = won(TERMS, prompt, at) + won(stand_in, 0, ANSWER - at)
    assert Decimal(event.won) == Decimal(usage["cost_krw"]) == expected
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (prompt, ANSWER)
    assert event.loss_won == "0"
    costs = [Decimal(attempt.won) for attempt in event.attempts]
    assert costs == [won(TERMS, prompt, at), won(stand_in, 0, ANSWER - at)]
    broken = event.attempts[0].tokens
    assert broken.completion == at and broken.prompt <= prompt


@pytest.mark.parametrize("stand_in", [DEARER, CHEAPER], ids=["dearer", "cheaper"])
@pytest.mark.parametrize("fault", ["cut=0", "error=500", "stall=0"])
async def test_an_answer_that_never_began_costs_nothing_of_it(
    run: Run, provider: Provider, fault: str, stand_in: JobTerms
) -> None:
    text, event, _ = await run(fault, TERMS, stand_in)
    assert text == answer_text(ANSWER)
    served = [call for call in provider.log.calls if call.account == "good"]
    assert Decimal(event.won) == won(stand_in, served[0].prompt_tokens, ANSWER)
    assert [(part.model, part.completion) for part in event.parts] == [(OTHER, ANSWER)]
    assert event.model == OTHER
    assert not event.estimated
    assert [attempt.won for attempt in event.attempts if not attempt.billed] == ["0"] * (len(event.attempts) - 1)


@pytest.mark.parametrize("at", [1, 15, ANSWER - 1])
async def test_the_original_input_alone_decides_the_tier(run: Run, provider: Provider, at: int) -> None:
    text = "x" * 4000
    prompt = 3 + 4 + 1000
    first = JobTerms("price-4", "rate-1", "1.25", "10", prompt, "2.5", "15", "1400.60")
    other = JobTerms("price-5", "rate-1", "3", "15", prompt, "6", "22.5", "1400.60")
    _, event, _ = await run(f"cut={at}", first, other, text=text)
    served = [call.prompt_tokens for call in provider.log.calls]
    assert served[0] == prompt < served[1]  # the continuation's own input lies beyond the threshold
    assert [part.tier for part in event.parts] == ["base", "base"]
    assert Decimal(event.won) == won(first, prompt, at) + won(other, 0, ANSWER - at)


async def test_a_strict_hold_bounds_a_continued_answer(run: Run) -> None:
    text, event, _ = await run(
        "cut=15", TERMS, DEARER, policy="strict", cap=ANSWER, input_micro=500_000, unit_micro=14_006
    )
    assert text == answer_text(ANSWER)
    assert event.micro <= 500_000 + ANSWER * 14_006
    assert Decimal(event.loss_won) > 0
    assert sum(Decimal(attempt.won) for attempt in event.attempts) == Decimal(event.won)


async def test_the_answer_names_the_fallback_only_where_it_began(run: Run, line: Line) -> None:
    await run("cut=15", TERMS, CHEAPER)
    await run("cut=0", TERMS, CHEAPER)
    named = [{chunk["model"] for chunk in heard.chunks()} for heard in line.heard.values()]
    assert named == [{MODEL}, {OTHER}]


async def test_the_receipts_list_every_attempt_with_its_reason(run: Run) -> None:
    _, event, _ = await run("cut=15", TERMS, CHEAPER)
    assert [(a.n, a.model, a.reason, a.billed) for a in event.attempts] == [
        (1, MODEL, "cut", True),
        (2, OTHER, "ok", True),
    ]
    assert all(a.ended_ms is not None and a.ended_ms >= a.started_ms > 0 for a in event.attempts)
