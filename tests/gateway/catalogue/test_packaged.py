"""The packaged data keeps its own promises."""

from typing import Any, cast

import pytest

from gateway.catalogue import packaged
from gateway.catalogue.model import Model
from gateway.catalogue.packaged import builtin
from gateway.catalogue.pricing import dearest

MODELS = list(builtin().models.values())
PRICES = {price.model: price for price in builtin().prices}
REAL = [model for model in MODELS if model.provider != "sandbox"]


def ids(models: list[Model]) -> list[str]:
    return [model.id for model in models]


def test_all_models_are_there_and_every_one_has_a_price() -> None:
    assert len(REAL) == 72
    assert set(PRICES) == set(ids(MODELS))
    assert len({price.id for price in builtin().prices}) == len(MODELS)


@pytest.mark.parametrize("model", MODELS, ids=ids(MODELS))
def test_limits_are_consistent(model: Model) -> None:
    assert 16 <= model.default_output_cap <= model.max_output_tokens <= model.context_length
    assert 0 < model.first_token_timeout_s <= model.total_timeout_s
    assert 0 < model.idle_timeout_s <= model.total_timeout_s
    assert {"max_tokens", "max_completion_tokens"} <= model.parameters
    assert model.upstream_id


@pytest.mark.parametrize("model", MODELS, ids=ids(MODELS))
def test_parameters_agree_with_the_quirks_that_interpret_them(model: Model) -> None:
    assert model.supports("reasoning_effort") == bool(model.quirks.efforts)
    assert model.supports("verbosity") == bool(model.quirks.verbosities)
    assert model.image_output == model.supports("modalities")
    assert set(model.quirks.renames) <= model.parameters
    assert set(model.quirks.maximum) | set(model.quirks.minimum) | set(model.quirks.fixed) <= model.parameters
    if model.vision and model.input_bounds and model.provider != "perplexity":
        assert model.input_bounds.image, "a model that sees needs the tokens an image may take"


@pytest.mark.parametrize("model", MODELS, ids=ids(MODELS))
def test_a_fallback_is_never_dearer_and_sees_draws_and_calls_tools_as_well(model: Model) -> None:
    for name in model.fallbacks:
        other = builtin().models[name]
        own, its = dearest(PRICES[model.id]), dearest(PRICES[name])
        assert its[0] <= own[0] and its[1] <= own[1], f"{name} is dearer"
        assert PRICES[name].input_usd <= PRICES[model.id].input_usd
        assert PRICES[name].output_usd <= PRICES[model.id].output_usd
        assert other.vision >= model.vision and other.image_output == model.image_output
        assert other.supports("tools") >= model.supports("tools")
        if other.quirks.thinks == "always":
            assert model.quirks.thinks == "always", f"{name} thinks by itself, which costs more output"


def test_the_gpt_5_family_takes_the_documented_extension_values() -> None:
    for name in ("openai/gpt-5.1", "openai/gpt-5", "openai/gpt-5-mini", "openai/gpt-5-nano"):
        quirks = builtin().models[name].quirks
        assert {"minimal", "low", "medium", "high"} <= set(quirks.efforts)
        assert quirks.verbosities == ("low", "medium", "high")


def test_only_the_two_image_models_answer_with_images() -> None:
    assert [model.id for model in MODELS if model.image_output] == [
        "google/gemini-3-pro-image-preview",
        "google/gemini-2.5-flash-image",
    ]


def test_top_k_reaches_anthropic_and_google_models() -> None:
    assert all(model.supports("top_k") for model in MODELS if model.provider in {"anthropic", "google"})
    assert not any(model.supports("top_k") for model in MODELS if model.provider == "openai")


def test_a_model_that_thinks_by_itself_reserves_more() -> None:
    caps = {name: builtin().models[name].default_output_cap for name in ("openai/gpt-4o", "openai/o3", "openai/o1")}
    assert caps == {"openai/gpt-4o": 4_096, "openai/o3": 16_384, "openai/o1": 16_384}


def test_only_a_model_whose_reading_has_no_bound_lacks_one() -> None:
    assert [model.id for model in MODELS if model.input_bounds is None] == ["perplexity/sonar-deep-research"]


FILES: dict[str, dict[str, Any]] = {
    name: packaged.read_data(name) for name in ("models.toml", "profiles.toml", "aliases.toml", "retired.toml")
}
ROWS: list[dict[str, Any]] = FILES["models.toml"]["model"]


@pytest.mark.parametrize(
    ("file", "change", "complaint"),
    [
        ("models.toml", {"model": ROWS + ROWS[:1]}, "listed twice"),
        ("models.toml", {"model": [{**ROWS[0], "profile": "nope"}, *ROWS[1:]]}, "nope"),
        ("models.toml", {"model": [{**ROWS[0], "input_usd": "1e-3"}, *ROWS[1:]]}, "plain decimal"),
        ("models.toml", {"model": [{**ROWS[0], "fallbacks": ["a/b"]}, *ROWS[1:]]}, "a/b"),
        ("models.toml", {"model": [{**ROWS[0], "typo": 1}, *ROWS[1:]]}, "typo"),
        ("aliases.toml", {"krouter": {"kr/x": "a/b"}, "spellings": {}}, "a/b"),
        ("aliases.toml", {"krouter": {"openai/gpt-4o": "openai/o3"}, "spellings": {}}, "two meanings"),
        ("retired.toml", {"successors": {"a/old": ["a/b"]}}, "a/b"),
    ],
)
def test_a_mistake_in_a_file_stops_the_process_and_names_it(
    monkeypatch: pytest.MonkeyPatch, file: str, change: dict[str, Any], complaint: str
) -> None:
    changed = {**FILES, file: {**FILES[file], **change}}
    monkeypatch.setattr(packaged, "read_data", lambda name: changed[cast("str", name)])  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    with pytest.raises(ValueError, match=complaint):
        builtin.__wrapped__()
