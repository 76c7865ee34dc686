"""GET /models: the published list comes out exactly, for both kinds of reader."""

import json
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest

from gateway.catalogue.model import NoRate, UnknownModel
from gateway.catalogue.snapshot import Snapshot
from gateway.money import won_half_up

from .conftest import at, rate

NOW = at("2025-12-08T12:00")
PUBLISHED: list[dict[str, Any]] = json.loads(
    files(__package__ or "").joinpath("data", "listed_won_at_1470.json").read_text("utf-8")
)


def body(snapshot: Snapshot, sandbox: bool = False, at_ms: int = NOW) -> dict[str, Any]:
    return json.loads(snapshot.listing(at_ms, sandbox), parse_float=Decimal, parse_int=Decimal)


def test_the_72_models_come_in_the_published_order_with_their_limits(listed: Snapshot) -> None:
    keys = ("id", "name", "context_length", "max_output_tokens")
    assert len(PUBLISHED) == 72
    assert [[model[key] for key in keys] for model in body(listed)["models"]] == [
        [model[key] for key in keys] for model in PUBLISHED
    ]


@pytest.mark.parametrize("published", PUBLISHED, ids=[model["id"] for model in PUBLISHED])
def test_every_listed_won_price_comes_out(listed: Snapshot, published: dict[str, Any]) -> None:
    model = next(model for model in body(listed)["models"] if model["id"] == published["id"])
    assert _won(model) == published["won"]
    if "above" in published:
        assert model["long_context"]["above_input_tokens"] == published["above"]
        assert _won(model["long_context"]) == published["long_won"]
    else:
        assert "long_context" not in model


def _won(prices: dict[str, Decimal]) -> list[int]:
    return [won_half_up(prices["input_price_per_1m_krw"]), won_half_up(prices["output_price_per_1m_krw"])]


def test_a_won_price_is_dollars_times_rate_unrounded() -> None:
    snapshot = Snapshot.packaged([rate("r", "2025-12-08", "1400.6789", "2025-12-08T00:00")])
    raw = snapshot.listing(NOW, sandbox=False)
    assert b'"input_price_per_1m_usd":0.075,"output_price_per_1m_usd":0.3,"input_price_per_1m_krw":105.0509175,' in raw
    assert raw.endswith(b'"exchange_rate":1400.6789}')
    for model in body(snapshot)["models"]:
        assert model["input_price_per_1m_krw"] == model["input_price_per_1m_usd"] * Decimal("1400.6789")
        assert model["output_price_per_1m_krw"] == model["output_price_per_1m_usd"] * Decimal("1400.6789")


def test_a_whole_exchange_rate_keeps_its_decimal_point(listed: Snapshot) -> None:
    assert listed.listing(NOW, sandbox=False).endswith(b'"exchange_rate":1470.0}')


def test_the_openai_list_names_the_same_models_in_the_same_order(listed: Snapshot) -> None:
    both = json.loads(listed.listing(NOW, sandbox=True))
    assert both["object"] == "list"
    assert [entry["id"] for entry in both["data"]] == [model["id"] for model in both["models"]]
    assert all(list(entry) == ["id", "object", "created", "owned_by"] for entry in both["data"])
    assert all(type(entry["created"]) is int and entry["object"] == "model" for entry in both["data"])


def test_available_says_which_models_have_a_deployment(listed: Snapshot) -> None:
    assert [model["id"] for model in body(listed)["models"] if model["available"]] == ["openai/gpt-4o"]


def test_sandbox_models_come_last_and_only_where_the_sandbox_is_on(listed: Snapshot) -> None:
    assert not any(model["id"].startswith("sandbox/") for model in body(listed)["models"])
    assert [model["id"] for model in body(listed, sandbox=True)["models"][72:]] == [
        "sandbox/echo",
        "sandbox/slow",
        "sandbox/error-429",
        "sandbox/error-500",
        "sandbox/error-503",
        "sandbox/error-timeout",
        "sandbox/error-cut",
    ]


def test_one_model_reads_as_an_openai_model_with_our_fields(listed: Snapshot) -> None:
    assert json.loads(listed.entry("openai/gpt-4o", NOW)) == {
        "id": "openai/gpt-4o",
        "object": "model",
        "created": 1715558400,
        "owned_by": "openai",
        "name": "OpenAI: GPT-4o",
        "context_length": 128000,
        "max_output_tokens": 16384,
        "input_price_per_1m_usd": 2.5,
        "output_price_per_1m_usd": 10,
        "input_price_per_1m_krw": 3675,
        "output_price_per_1m_krw": 14700,
        "available": True,
        "exchange_rate": 1470.0,
    }


def test_one_unknown_model_is_unknown(listed: Snapshot) -> None:
    with pytest.raises(UnknownModel):
        listed.entry("openai/gpt-9", NOW)


def test_nothing_is_listed_in_won_without_a_rate() -> None:
    with pytest.raises(NoRate):
        Snapshot.packaged([]).listing(NOW, sandbox=False)


def test_a_model_without_a_price_yet_is_not_on_the_list(listed: Snapshot) -> None:
    snapshot = Snapshot.packaged([rate("early", "2020-01-01", "1200", "2020-01-01T00:00")])
    assert body(snapshot, at_ms=at("2025-12-07T23:59:59"))["models"] == []
