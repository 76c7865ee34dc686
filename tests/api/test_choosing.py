"""Stand-ins and kr/auto through HTTP: what the job may use, and what nobody may reach."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from redis.exceptions import RedisError

from api import model_health
from api.model_health import ModelHealth
from gateway.catalogue.snapshot import Snapshot
from gateway.deployments import health
from gateway.deployments.health import Rules, Seen
from gateway.redis import RedisLine
from gateway.wire.job import Job
from tests.api.conftest import KEY, MODEL, House, snapshot

pytestmark = pytest.mark.anyio

MINI = "openai/gpt-4o-mini"
SONNET = "anthropic/claude-sonnet-4.5"


async def job_of(house: House, **fields: Any) -> tuple[Job, dict[str, str]]:
    """The job that a body becomes, and its answer's headers."""
    asked = asyncio.create_task(house.ask(**fields))
    taken = await house.worker.take()
    await taken.end()
    return taken.job, dict((await asked).headers)


async def test_the_requests_models_stand_in_in_their_order_with_terms_of_their_own(house: House) -> None:
    job, _ = await job_of(house, models=[MODEL, SONNET, MINI])
    assert job.models == [MODEL, SONNET, MINI]
    assert job.terms.keys() == set(job.models)
    assert job.terms[SONNET].output_usd == "15"


async def test_a_list_of_models_alone_names_the_first(house: House) -> None:
    job, _ = await job_of(house, model=None, models=[MINI, MODEL])
    assert (job.asked, job.models) == (MINI, [MINI, MODEL])


async def test_the_hold_covers_the_dearest_stand_in(house: House) -> None:
    held: list[int] = []
    for models in ([MODEL], [MODEL, "openai/o1"]):
        asked = asyncio.create_task(house.ask(max_tokens=100, models=models))
        taken = await house.worker.take()
        held.append(taken.claim.hold_micro)
        await taken.end()
        await asked
    assert held[1] > 5 * held[0]


async def test_without_a_choice_the_catalogues_stand_ins_come_along(house: House) -> None:
    job, _ = await job_of(house)
    assert job.models == [MODEL, *house.book.catalogue.models[MODEL].fallbacks]


async def test_the_organisations_choice_comes_before_the_catalogues(house: House) -> None:
    house.book.change(KEY, fallbacks={MODEL: [SONNET]}, key_version=2)
    await house.redis.hset("wr:k:key1", "v", 2)
    job, _ = await job_of(house)
    assert job.models == [MODEL, SONNET]


async def test_no_fallback_is_taken_where_the_client_wants_none(house: House) -> None:
    job, _ = await job_of(house, provider={"allow_fallbacks": False})
    assert job.models == [MODEL]


async def test_a_stand_in_can_do_what_the_request_needs(house: House) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    job, _ = await job_of(
        house, messages=[{"role": "user", "content": [image]}], models=[MODEL, "deepseek/deepseek-v3.2", MINI]
    )
    assert job.models == [MODEL, MINI]


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"models": ["openai/nothing"]}, 404, None),
        ({"models": [MODEL] * 6}, 400, "models"),
        ({"models": "openai/gpt-4o"}, 400, "models"),
        ({"provider": []}, 400, "provider"),
        ({"provider": {"order": "openai"}}, 400, "provider"),
        ({"provider": {"max_price": {"prompt": -1}}}, 400, "provider.max_price.prompt"),
        ({"provider": {"max_price": {"prompt": 1}}}, 400, "provider.max_price"),
    ],
)
async def test_a_wrong_wish_is_refused_with_its_name(
    house: House, fields: dict[str, Any], status: int, param: str | None
) -> None:
    response = await house.ask(**fields)
    assert response.status_code == status
    assert param is None or response.json()["error"]["param"] == param


async def test_stand_ins_stay_within_the_price(house: House) -> None:
    job, _ = await job_of(house, models=[MODEL, SONNET, MINI], provider={"max_price": {"completion": 12}})
    assert job.models == [MODEL, MINI]


@pytest.mark.parametrize("base", ["/api/v1", "/v1"])
async def test_auto_chooses_says_why_and_takes_others_along(house: House, base: str) -> None:
    messages = [{"role": "user", "content": "서울의 오늘 날씨를 알려 주세요."}]
    job, headers = await job_of(house, base=base, model="kr/auto", messages=messages)
    assert (job.asked, job.models[0]) == ("kr/auto", "upstage/solar-mini")
    assert headers["x-wonrouter-auto"].startswith("upstage/solar-mini;rule=korean;needs=korean")
    assert len(job.models) == 3


async def test_auto_stays_within_what_the_key_may_use(house: House) -> None:
    house.book.change(KEY, models=frozenset({MODEL, MINI}), key_version=2)
    await house.redis.hset("wr:k:key1", "v", 2)
    job, _ = await job_of(house, model="kr/auto")
    assert set(job.models) <= {MODEL, MINI}


async def test_auto_and_stand_ins_stay_at_home_where_the_organisation_says_so(house: House) -> None:
    kinds = {name: frozenset({(False, True)}) for name in house.book.catalogue.models}
    kinds[MINI] = frozenset({(True, False)})
    house.book.catalogue = _with_reach(kinds)
    house.parts.catalogue._snapshot = house.book.catalogue  # pyright: ignore[reportPrivateUsage]
    house.book.change(KEY, domestic_only=True, key_version=2)
    await house.redis.hset("wr:k:key1", "v", 2)
    job, _ = await job_of(house, model="kr/auto")
    assert job.models == [MINI]
    job, _ = await job_of(house, models=[MODEL, SONNET, MINI])
    assert (job.models, job.domestic_only) == ([MODEL, MINI], True)


CHEAPEST, NEXT = "upstage/solar-mini", "upstage/solar-pro-2"
KOREAN = [{"role": "user", "content": "서울의 오늘 날씨를 알려 주세요."}]
NAMED = {"up-1": CHEAPEST, "up-2": CHEAPEST}
FAILING = Seen(failed=5)


async def with_deployments(house: House, reports: dict[str, Seen]) -> dict[str, str]:
    """Two deployments of the cheapest model, of which workers have seen this; the headers of a call to kr/auto."""
    house.book.catalogue = dataclasses.replace(snapshot(), deployments={CHEAPEST: tuple(NAMED)})
    house.parts.catalogue._snapshot = house.book.catalogue  # pyright: ignore[reportPrivateUsage]
    await health.report(house.parts.redis, Rules(), list(reports.items()))
    await house.parts.health.refresh()
    _, headers = await job_of(house, model="kr/auto", messages=KOREAN)
    return headers


@pytest.mark.parametrize(
    ("reports", "chosen"),
    [
        ({}, CHEAPEST),
        ({"up-1": FAILING}, CHEAPEST),
        ({"up-1": FAILING, "up-2": FAILING}, NEXT),
        ({"up-1": FAILING, "up-2": Seen(cool_ms=30_000)}, NEXT),
        ({"up-1": FAILING, "up-2": Seen(good=1, failed=1)}, CHEAPEST),
    ],
)
async def test_auto_passes_over_a_model_of_which_no_deployment_is_up(
    house: House, reports: dict[str, Seen], chosen: str
) -> None:
    headers = await with_deployments(house, reports)
    assert headers["x-wonrouter-auto"].startswith(f"{chosen};")
    assert headers["x-wonrouter-auto"].endswith(f";down={CHEAPEST}") == (chosen == NEXT)


async def test_auto_tries_a_model_again_that_nobody_has_probed_for_a_while(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_health, "UNPROBED_MS", 0)
    headers = await with_deployments(house, {"up-1": FAILING, "up-2": FAILING})
    assert headers["x-wonrouter-auto"].startswith(f"{CHEAPEST};")


async def test_health_that_cannot_be_heard_delays_nobody_and_is_forgotten(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_deployments(house, {"up-1": FAILING, "up-2": FAILING})
    listening = ModelHealth(RedisLine("redis://127.0.0.1:1/0"), lambda: house.parts.catalogue.snapshot)
    listening._conditions = house.parts.health._conditions  # pyright: ignore[reportPrivateUsage]
    listening._heard_at = asyncio.get_running_loop().time()  # pyright: ignore[reportPrivateUsage]
    with pytest.raises((RedisError, OSError)):
        await listening.refresh()
    assert listening.now()[CHEAPEST].down
    monkeypatch.setattr(model_health, "REMEMBERED_S", -1.0)
    assert listening.now() == {}


async def test_a_call_that_certainly_fits_no_model_is_refused_with_the_limit(house: House) -> None:
    words = [{"role": "user", "content": "word and " * 120_000}]
    response = await house.ask(provider={"allow_fallbacks": False}, messages=words)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert "128000" in error["message"]


def _with_reach(kinds: dict[str, frozenset[tuple[bool, bool]]]) -> Snapshot:
    made = snapshot()
    return Snapshot(
        version="test",
        models=made.models,
        aliases=made.aliases,
        prices=made.prices,
        rates=made.rates,
        available=made.available,
        reach=kinds,
    )
