"""Domestic-only and no-training hold whatever happens: nothing is sent to a deployment that is not permitted."""

from __future__ import annotations

from typing import Any

import pytest

from tests.provider.behaviour import parse_behaviour
from tests.provider.server import Provider
from tests.provider.silence import limits_met_by
from tests.workers.line import MODEL, Line, chat, deployment, started

pytestmark = pytest.mark.anyio

MINI = "openai/gpt-4o-mini"


@pytest.mark.parametrize("switch", ["domestic", "no_training"])
@pytest.mark.parametrize("fault", ["error=500", "error=429", "first=2", "cut=5", "stall=5", "cut=0"])
async def test_no_fallback_hedge_or_continuation_leaves_what_is_permitted(
    line: Line, provider: Provider, fault: str, switch: str
) -> None:
    provider.accounts["home"] = parse_behaviour(f"tokens=12 {fault}")
    permitted: dict[str, Any] = {switch: True}
    silence = limits_met_by(fault, first_s=0.2, idle_s=0.2, total_s=1.0)
    ways = [
        deployment(provider.base_url, "home", api_key="sk-home", options=silence, **permitted),
        deployment(provider.base_url, "away", api_key="sk-away"),
        deployment(provider.base_url, "mini", MINI, api_key="sk-away"),
    ]
    worker = await started(line, ways, backoff_s=0.01)
    wanted: dict[str, Any] = {"domestic_only" if switch == "domestic" else "no_training": True}
    job = await line.place(chat("hello", stream=True), models=(MODEL, MINI), **wanted)
    await worker.run(job)
    await line.ended(job)
    await worker.drain(5)
    await worker.close()
    [event] = line.events()
    assert {attempt.deployment for attempt in event.attempts} == {"home"}
    assert {call.account for call in provider.log.calls} <= {"home"}, "a stall of the machine may leave it unasked"
