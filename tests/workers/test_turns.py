"""Breakers, weights and health that all workers share, over a real Redis and two workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gateway.catalogue.packaged import builtin
from gateway.deployments import health
from gateway.redis import RedisLine
from tests.provider.behaviour import parse_behaviour
from tests.provider.dialects.openai import answer_text
from tests.provider.server import Provider
from tests.workers.line import MODEL, Line, chat, deployment, settings, started
from workers.calls import CallWorker
from workers.providers.base import ProviderFailure
from workers.providers.openai import OpenAI
from workers.routing.candidates import Candidate
from workers.routing.turns import Turns

pytestmark = pytest.mark.anyio

Make = Callable[..., Turns]
SERVER = ProviderFailure(kind="server", status=500)
PROBE_S = 0.3


def three() -> list[Candidate]:
    weights = {"a": 70, "b": 20, "c": 10}
    model = builtin().models[MODEL]
    return [Candidate(model, deployment("https://host", name, weight=w), OpenAI()) for name, w in weights.items()]


@pytest.fixture
async def turns(redis_url: str) -> AsyncIterator[Make]:
    """Makes workers' views, each with a connection of its own."""
    lines: list[RedisLine] = []

    def make(**changes: Any) -> Turns:
        lines.append(RedisLine(redis_url))
        limits = {"breaker_failures": 3, "breaker_probe_s": 0.2, "choice_patience_s": 60.0, **changes}
        return Turns(lines[-1], settings(redis_url, **limits), lambda: ["a", "b", "c"])

    yield make
    for line in lines:
        await line.aclose()


async def shut(view: Turns, name: str, times: int = 3) -> None:
    """Reports failures until the breaker is open."""
    for _ in range(times):
        view.failed(name, SERVER)
    await view.exchange()


async def test_two_workers_together_keep_the_weights_exactly(turns: Make) -> None:
    workers, count = (turns(), turns()), Counter[str]()

    async def choose(view: Turns) -> None:
        for _ in range(500):
            turn = await view.choose([three()])
            assert turn.candidate is not None
            count[turn.candidate.deployment.id] += 1

    await asyncio.gather(*(choose(view) for view in workers))
    assert count == {"a": 700, "b": 200, "c": 100}


async def test_failures_seen_by_one_worker_keep_all_from_the_deployment(turns: Make) -> None:
    first, second = turns(breaker_probe_s=60), turns(breaker_probe_s=60)
    await shut(first, "a")
    chosen = [(await second.choose([three()])).candidate for _ in range(30)]
    assert Counter(c.deployment.id for c in chosen if c) == {"b": 20, "c": 10}


async def test_an_open_breaker_gets_one_probe_an_interval_over_all_workers(turns: Make) -> None:
    workers = [turns(breaker_probe_s=0.2) for _ in range(2)]
    await shut(workers[0], "a")
    loop = asyncio.get_running_loop()
    began, probes = loop.time(), 0
    while loop.time() - began < 0.7 or not probes:
        for view in workers:
            turn = await view.choose([three()])
            assert turn.candidate is not None
            assert turn.probe == (turn.candidate.deployment.id == "a")
            probes += turn.probe
    assert probes <= (loop.time() - began) / 0.2 + 1


async def test_only_a_good_probe_closes_a_breaker(turns: Make) -> None:
    view = turns(breaker_probe_s=0.01)
    await shut(view, "a")
    view.spoke("a", 0.1, probe=False)  # an answer that began before the breaker opened
    await view.exchange()
    assert (await health.report(view._redis, health.Rules(), [("a", health.Seen())]))[0].state == "open"  # pyright: ignore[reportPrivateUsage]
    view.spoke("a", 0.1, probe=True)
    await view.exchange()
    found = [(await view.choose([three()])).probe for _ in range(10)]
    assert found == [False] * 10


async def test_a_long_retry_after_keeps_all_away_until_then(turns: Make) -> None:
    first, second = turns(), turns()
    first.failed("a", ProviderFailure(kind="rate_limited", status=429, retry_after_s=30))
    await first.exchange()
    chosen = [(await second.choose([three()])).candidate for _ in range(30)]
    assert "a" not in {c.deployment.id for c in chosen if c}


async def test_a_few_failures_among_many_good_calls_open_nothing(turns: Make) -> None:
    view = turns()
    for _ in range(20):
        view.spoke("a", 0.1, probe=False)
    await view.exchange()
    await shut(view, "a")
    state = (await health.report(view._redis, health.Rules(), [("a", health.Seen())]))[0]  # pyright: ignore[reportPrivateUsage]
    assert state.state == "closed"
    assert 0.1 < state.error_rate < 0.15
    assert state.first_token_ms == 100


async def test_where_all_are_open_the_next_group_is_asked(turns: Make) -> None:
    view = turns(breaker_probe_s=60)
    a, b, c = three()
    for name in ("a", "b"):
        await shut(view, name)
    turn = await view.choose([[a, b], [c]])
    assert turn.candidate is c
    await shut(view, "c")
    turn = await view.choose([[a, b], [c]])
    assert (turn.candidate, 0 < turn.wait_s <= 60, turn.paused) == (None, True, False)


async def test_where_all_pause_the_wait_is_the_shortest_pause_and_is_told_as_one(turns: Make) -> None:
    view = turns()
    for name, pause in (("a", 40), ("b", 20), ("c", 30)):
        view.failed(name, ProviderFailure(kind="rate_limited", status=429, retry_after_s=pause))
    await view.exchange()
    turn = await view.choose([three()])
    assert (turn.candidate, turn.paused) == (None, True)
    assert 15 < turn.wait_s <= 20


async def test_without_redis_a_worker_goes_by_its_own_memory() -> None:
    line = RedisLine("redis://127.0.0.1:1/0")
    view = Turns(line, settings("redis://127.0.0.1:1/0"), list)
    chosen = [(await view.choose([three()])).candidate for _ in range(10)]
    assert Counter(c.deployment.id for c in chosen if c) == {"a": 7, "b": 2, "c": 1}
    await line.aclose()


@pytest.fixture
async def crew(line: Line, provider: Provider) -> AsyncIterator[Callable[..., Awaitable[list[CallWorker]]]]:
    """Starts two workers over deployments `bad` and `good`."""
    made: list[CallWorker] = []

    async def begin(**changes: Any) -> list[CallWorker]:
        both = [
            deployment(provider.base_url, "bad", api_key="sk-bad"),
            deployment(provider.base_url, "good", api_key="sk-good"),
        ]
        limits: dict[str, Any] = {"backoff_s": 0.01, "breaker_probe_s": PROBE_S, "choice_patience_s": 60.0, **changes}
        made.extend([await started(line, both, **limits), await started(line, both, **limits)])
        return made

    yield begin
    for worker in made:
        await worker.drain(5)
        await worker.close()


async def test_a_deployment_that_is_down_gets_probes_only_and_is_back_soon_after(
    line: Line, provider: Provider, crew: Callable[..., Awaitable[list[CallWorker]]]
) -> None:
    provider.accounts["-bad"] = parse_behaviour("tokens=4 cut=0")
    provider.accounts["good"] = parse_behaviour("tokens=4")
    workers = await crew(breaker_failures=3)

    async def call(number: int) -> None:
        job = await line.place(chat("hello", stream=True))
        await workers[number % 2].run(job)
        assert (await line.ended(job)).content() == answer_text(4)

    for number in range(10):
        await call(number)
    before = len(provider.log.calls)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(30):
        await call(number)
    down = [c for c in provider.log.calls[before:] if c.account == "-bad"]
    assert len(down) <= (loop.time() - began) / PROBE_S + 1
    provider.accounts["-bad"] = parse_behaviour("tokens=4")
    began = loop.time()

    def answered() -> int:
        return sum(c.account == "-bad" and c.finished for c in provider.log.calls)

    while not answered():
        due = loop.time() - began > PROBE_S + 0.002  # Redis counts whole milliseconds
        await call(0)
        assert answered() or not due, "the first call after the interval is the probe"
    for _ in range(4):
        await call(0)
    assert answered() == 3, "one good probe, and it has its half again"


async def test_who_sees_a_deployment_fail_tells_the_other_workers_at_once(
    line: Line, provider: Provider, crew: Callable[..., Awaitable[list[CallWorker]]]
) -> None:
    provider.behaviour = parse_behaviour("error=429 retry_after=60")
    first, second = await crew(health_every_s=3_600.0)
    only = b'{"only": ["bad"]}'
    loop = asyncio.get_running_loop()
    began = loop.time()
    await first.run(await line.place(chat("hello"), routing=only))
    async with asyncio.timeout(60):
        while "bad" not in second.room.turns._shut:  # noqa: ASYNC110  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(0.01)
    job = await line.place(chat("hello"), routing=only)
    await second.run(job)
    final = (await line.ended(job)).final
    assert final is not None
    assert final.status == 503
    assert 60 - (loop.time() - began) <= int(final.headers["retry-after"]) <= 60
    assert len(provider.log.calls) == 1
