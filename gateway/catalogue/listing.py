"""The bodies of GET /models and GET /models/{id}, for both kinds of reader in one.

Prices are JSON numbers because users' documented snippets calculate with them; each is written from its exact
decimal text, never through a float.
"""

from collections.abc import Container, Iterable
from decimal import Decimal
from typing import Any

import msgspec

from gateway.catalogue.model import FxRate, Model, Price
from gateway.money import EXACT, won_text


def models_body(priced: Iterable[tuple[Model, Price]], rate: FxRate, available: Container[str]) -> bytes:
    """`object` and `data` are what the OpenAI SDKs read, `models` and `exchange_rate` what is documented."""
    rows = list(priced)
    return msgspec.json.encode(
        {
            "object": "list",
            "data": [_openai_object(model) for model, _ in rows],
            "models": [{"id": model.id, **_facts(model, price, rate, model.id in available)} for model, price in rows],
            "exchange_rate": _rate_number(rate.rate),
        }
    )


def model_body(model: Model, price: Price, rate: FxRate, available: bool) -> bytes:
    """One model: the OpenAI object with our fields added."""
    return msgspec.json.encode(
        {
            **_openai_object(model),
            **_facts(model, price, rate, available),
            "exchange_rate": _rate_number(rate.rate),
        }
    )


def _openai_object(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
    }


def _facts(model: Model, price: Price, rate: FxRate, available: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": model.name,
        "context_length": model.context_length,
        "max_output_tokens": model.max_output_tokens,
        **_prices(price.input_usd, price.output_usd, rate.rate),
        "available": available,
    }
    if price.over_input_usd is not None and price.over_output_usd is not None:
        facts["long_context"] = {
            "above_input_tokens": price.threshold,
            **_prices(price.over_input_usd, price.over_output_usd, rate.rate),
        }
    return facts


def _prices(input_usd: Decimal, output_usd: Decimal, rate: Decimal) -> dict[str, msgspec.Raw]:
    return {
        "input_price_per_1m_usd": _number(input_usd),
        "output_price_per_1m_usd": _number(output_usd),
        "input_price_per_1m_krw": _number(EXACT.multiply(input_usd, rate)),
        "output_price_per_1m_krw": _number(EXACT.multiply(output_usd, rate)),
    }


def _number(amount: Decimal) -> msgspec.Raw:
    return msgspec.Raw(won_text(amount).encode())


def _rate_number(rate: Decimal) -> msgspec.Raw:
    """A rate is documented with a decimal point (1470.0), a whole one too."""
    text = won_text(rate)
    return msgspec.Raw((text if "." in text else f"{text}.0").encode())
