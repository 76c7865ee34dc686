"""kr/auto's choices: a table of requests, and what may never be chosen."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.catalogue.auto import Condition, Needs, able, choose, rules
from gateway.catalogue.model import Model, Price
from gateway.catalogue.packaged import builtin


def offered(*but: str) -> dict[str, tuple[Model, Price]]:
    prices = {price.model: price for price in builtin().prices}
    return {name: (model, prices[name]) for name, model in builtin().models.items() if name not in but}


@pytest.mark.parametrize(
    ("needs", "rule", "model"),
    [
        ({}, "plain", "upstage/solar-mini"),
        ({"input_tokens": 20_000}, "plain", "openai/gpt-4.1-nano"),
        ({"korean": True}, "korean", "upstage/solar-mini"),
        ({"korean": True, "tools": True}, "korean-work", "upstage/solar-pro-2"),
        ({"korean": True, "input_tokens": 40_000}, "korean-long", "upstage/solar-pro-2"),
        ({"korean": True, "input_tokens": 100_000}, "korean-long", "google/gemini-2.5-flash"),
        ({"korean": True, "vision": True}, "korean", "openai/gpt-4.1-mini"),
        ({"vision": True}, "vision", "google/gemini-2.0-flash-001"),
        ({"schema": True}, "structured", "upstage/solar-pro-2"),
        ({"tools": True}, "tools", "upstage/solar-pro-2"),
        ({"input_tokens": 500_000}, "long", "google/gemini-2.0-flash-001"),
        ({"input_tokens": 1_500_000}, "long", "x-ai/grok-4.1-fast"),
        ({"output_tokens": 40_000}, "plain", "google/gemini-2.5-flash-lite"),
    ],
)
def test_the_cheapest_model_that_is_good_enough_is_chosen(needs: dict[str, Any], rule: str, model: str) -> None:
    choice = choose(Needs(**needs), offered())
    assert choice is not None
    assert (choice.models[0], f"rule={rule};" in choice.why) == (model, True), choice
    assert all(able(builtin().models[name], Needs(**needs)) for name in choice.models)
    assert 1 <= len(choice.models) <= rules().stand_by


def test_what_is_not_offered_is_never_chosen() -> None:
    choice = choose(Needs(korean=True), offered("upstage/solar-mini", "upstage/solar-pro-2"))
    assert choice is not None
    assert "upstage/solar-mini" not in choice.models
    assert choose(Needs(), {}) is None


def test_where_nobody_is_good_enough_the_best_is_taken_and_said() -> None:
    only = {name: pair for name, pair in offered().items() if name in ("openai/gpt-4.1-nano", "openai/gpt-4o-mini")}
    choice = choose(Needs(korean=True), only)
    assert choice is not None
    assert choice.models[0] == "openai/gpt-4o-mini"
    assert "best-available" in choice.why


def test_nobody_is_chosen_for_what_nobody_can() -> None:
    assert choose(Needs(input_tokens=5_000_000), offered()) is None


MINI, PRO, NANO = "upstage/solar-mini", "upstage/solar-pro-2", "openai/gpt-4.1-nano"


@pytest.mark.parametrize(
    ("health", "model", "said"),
    [
        ({MINI: Condition(down=True)}, NANO, f";down={MINI}"),
        (
            {MINI: Condition(down=True), NANO: Condition(down=True)},
            "google/gemini-2.5-flash-lite",
            f";down={NANO}+{MINI}",
        ),
        ({MINI: Condition(errors=100)}, MINI, ""),
        ({MINI: Condition(errors=9_000)}, NANO, ""),
        ({MINI: Condition(errors=10_000), NANO: Condition(errors=10_000)}, "google/gemini-2.5-flash-lite", ""),
    ],
)
def test_a_model_that_is_down_is_passed_over_and_one_that_errs_counts_as_dearer(
    health: dict[str, Condition], model: str, said: str
) -> None:
    choice = choose(Needs(input_tokens=2_000), offered(), health)
    assert choice is not None
    assert choice.models[0] == model, choice
    assert ("down=" in choice.why) == bool(said)
    assert sorted(choice.why.partition(";down=")[2].split("+")) == sorted(said.removeprefix(";down=").split("+"))
    assert not any(health.get(name, Condition()).down for name in choice.models)


def test_where_all_are_down_the_choice_is_as_if_none_were() -> None:
    everybody = dict.fromkeys(builtin().models, Condition(down=True))
    assert choose(Needs(korean=True), offered(), everybody) == choose(Needs(korean=True), offered())


def test_a_healthy_model_that_is_less_good_comes_before_a_good_one_that_is_down() -> None:
    only = {name: pair for name, pair in offered().items() if name in (PRO, NANO)}
    choice = choose(Needs(korean=True, tools=True), only, {PRO: Condition(down=True)})
    assert choice is not None
    assert choice.models == (NANO,)
    assert "best-available" in choice.why
