"""The published bound of what may be charged beyond the credit (docs/limits.md), with real holds and a mock provider.

One output token of the model costs 14,006 micro-won here. The credit covers the hold exactly, so whatever is charged
beyond the hold is beyond the credit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gateway.wire import keys
from tests.provider.server import Provider
from tests.workers.line import MODEL, START_MICRO, Line, chat, deployment, models_with, refused, started
from workers.calls import CallWorker

pytestmark = pytest.mark.anyio

UNIT = 14_006
INPUT = 1_000 * 3_502
DEFAULT_CAP, MOST = 40, 400
MODELS = models_with(MODEL, default_output_cap=DEFAULT_CAP, max_output_tokens=MOST)

Spend = Callable[..., Awaitable[tuple[int, int]]]


@pytest.fixture
async def spend(line: Line, provider: Provider) -> AsyncIterator[Spend]:
    """(charge, credit) in micro-won of one call whose hold takes the whole credit."""
    worker: CallWorker = await started(line, [deployment(provider.base_url)], MODELS)
    provider.gate.close()

    async def call(body: dict[str, Any], **terms: Any) -> tuple[int, int]:
        job = await line.place(body, cap=DEFAULT_CAP, input_micro=INPUT, unit_micro=UNIT, **terms)
        hold = line.window().held_micro
        line.client.hincrby(keys.org("org"), "bal", hold - START_MICRO)
        run = asyncio.create_task(worker.run(job))
        await refused(worker, run)
        provider.gate.open()
        await run
        await line.ended(job)
        [event] = line.events()
        return event.micro, hold

    yield call
    await worker.drain(5)
    await worker.close()


async def test_a_window_that_is_rebuilt_meanwhile_ends_no_answer(line: Line, provider: Provider) -> None:
    worker = await started(line, [deployment(provider.base_url)], MODELS)
    provider.gate.close()
    job = await line.place(
        chat("[[mock tokens=90 gate=60]]", stream=True), cap=DEFAULT_CAP, input_micro=INPUT, unit_micro=UNIT
    )
    epoch = line.client.get(keys.EPOCH)
    line.client.set(keys.EPOCH, "rebuilding")
    run = asyncio.create_task(worker.run(job))
    await line.until(lambda: len(line.of(job).content()) >= 60 * 4)
    line.client.set(keys.EPOCH, epoch)  # pyright: ignore[reportArgumentType]
    provider.gate.open()
    await run
    [event] = line.events()
    assert (event.outcome, event.finish_reason, event.tokens.completion) == ("complete", "stop", 90)
    await worker.drain(5)
    await worker.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_strict_never_charges_beyond_the_credit(spend: Spend, stream: bool) -> None:
    charge, credit = await spend(chat("[[mock tokens=390]]", stream=stream), policy="strict")
    assert 0 < charge <= credit


async def test_optimistic_with_a_limit_of_the_clients_never_charges_beyond_the_credit(spend: Spend) -> None:
    charge, credit = await spend(chat("[[mock tokens=390]]", max_tokens=DEFAULT_CAP))
    assert 0 < charge <= credit


@pytest.mark.parametrize("stream", [False, True])
async def test_optimistic_without_one_charges_at_most_the_models_rest_beyond_the_credit(
    spend: Spend, stream: bool
) -> None:
    longer = "gate=60 stall=61" if stream else ""
    charge, credit = await spend(chat(f"[[mock tokens=390 {longer}]]", stream=stream))
    assert 0 < charge <= credit + (MOST - DEFAULT_CAP) * UNIT
    if stream:  # a refused extension ends the answer with what comes next
        assert charge < 390 * UNIT
