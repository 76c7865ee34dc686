"""Every model of the published list, as a customer calls it: through its own dialect, at its own price, within its limits."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.catalogue.model import Model
from gateway.catalogue.packaged import builtin
from gateway.catalogue.pricing import tier_of
from gateway.deployments.deployment import Deployment
from gateway.deployments.providers import dialect_of, known
from gateway.deployments.register import facts
from tests.gateway import catalogue
from tests.resilience.conftest import ANSWER, TOKENS, Host, Said, Scene
from workers.providers.dialects import adapter

PUBLISHED: list[dict[str, Any]] = json.loads(
    (Path(catalogue.__file__).parent / "data" / "listed_won_at_1470.json").read_text("utf-8")
)
MODELS = {model["id"]: builtin().models[model["id"]] for model in PUBLISHED}
PRICES = {price.model: price for price in builtin().prices}
FLAVOURS = {"xai", "deepseek", "perplexity", "zai", "moonshot", "minimax", "upstage"}
"""Providers whose answers the mock knows to differ from OpenAI's."""
THOUGHTS = 2

every_model = pytest.mark.parametrize("name", MODELS)


def thoughts(model: Model) -> int:
    """How many tokens of reasoning the mock shows of it."""
    return THOUGHTS if model.quirks.thinks == "always" and model.quirks.reasoning_field != "hidden" else 0


def host(model: Model) -> Host:
    """The model at the mock, which speaks as its provider does."""
    does = f"think={thoughts(model)}"
    if model.quirks.reasoning_field == "think_tags":
        does += " flavour=tags"
    elif model.provider in FLAVOURS:
        does += f" flavour={model.provider}"
    return Host("every", does, model.id, 1, model.quirks.dialect)


@pytest.fixture(scope="module")
def scene(resilient: Scene) -> Scene:
    """One host for each model."""
    resilient.serve([host(model) for model in MODELS.values()])
    return resilient


@pytest.fixture(scope="module")
def listed(scene: Scene) -> dict[str, dict[str, Any]]:
    """The list of models as customers read it, exact."""
    answer = scene.client.get(f"{scene.installation.root}/api/v1/models", headers={"X-API-Key": scene.key})
    return {model["id"]: model for model in json.loads(answer.text, parse_float=Decimal)["models"]}


def reasoning(said: Said) -> str:
    """The reasoning of the first choice."""
    if not said.streamed:
        return said.whole["choices"][0]["message"].get("reasoning_content") or ""
    deltas = [choice["delta"] for event in said.events for choice in event["choices"]]
    return "".join(delta.get("reasoning_content") or "" for delta in deltas)


@every_model
def test_it_answers_in_full_under_its_own_name_at_the_listed_price(
    scene: Scene, listed: dict[str, dict[str, Any]], name: str
) -> None:
    shown, thought = listed[name], thoughts(MODELS[name])
    assert shown["available"]
    for stream in (True, False):
        said = scene.ask(["every"], stream=stream, model=name)
        assert (said.status, said.content, said.complete) == (200, ANSWER, True), said.text
        assert reasoning(said).split() == [f"t{number}" for number in range(thought)]
        assert {event["model"] for event in said.events} == {name} if stream else said.whole["model"] == name
        usage = said.usage
        assert usage["completion_tokens"] == TOKENS + thought
        charge = usage["prompt_tokens"] * Decimal(shown["input_price_per_1m_krw"])
        charge += usage["completion_tokens"] * Decimal(shown["output_price_per_1m_krw"])
        assert Decimal(usage["cost_krw"]) == charge / 1_000_000 > 0


@every_model
def test_more_than_its_limits_is_refused_before_the_call(scene: Scene, name: str) -> None:
    model = MODELS[name]
    before = len(scene.mock.log.calls)
    said = scene.ask(["every"], stream=False, model=name, max_tokens=model.max_output_tokens + 1)
    assert (said.status, said.whole["error"]["param"]) == (400, "max_tokens")
    assert len(scene.mock.log.calls) == before


@every_model
def test_its_maker_has_an_address_a_key_a_dialect_and_a_place_in_the_register(name: str) -> None:
    model = MODELS[name]
    maker = known()[model.provider]
    assert maker.base_url.startswith("https://") and maker.keys
    assert maker.dialect == model.quirks.dialect
    own = Deployment("d", name, model.provider, maker.base_url, model.upstream_id)
    assert adapter(dialect_of(own, model)) is not None
    assert facts()[model.provider].country


@pytest.mark.parametrize("published", [model for model in PUBLISHED if "above" in model], ids=lambda model: model["id"])
def test_both_of_its_prices_change_one_token_past_its_threshold(published: dict[str, Any]) -> None:
    price = PRICES[published["id"]]
    assert price.threshold is not None and price.threshold == published["above"]
    for tokens, won in ((price.threshold, published["won"]), (price.threshold + 1, published["long_won"])):
        _, *usd = tier_of(tokens, price)
        assert [int((each * 1470).quantize(Decimal(1), "ROUND_HALF_UP")) for each in usd] == won
