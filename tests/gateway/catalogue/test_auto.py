"""kr/auto's choices: a table of requests, and what may never be chosen."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.catalogue.auto import Needs, able, choose, rules
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
