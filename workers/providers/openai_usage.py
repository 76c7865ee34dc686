"""The `usage` object of OpenAI-compatible providers, in one meaning: prompt with cached, completion with reasoning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from gateway.catalogue.model import Quantities
from gateway.wire.event import Tokens

ReadUsage = Callable[[bytes], Tokens | None]
"""The raw `usage` value to tokens; None for null or what cannot be read."""

_decode = msgspec.json.Decoder().decode


def reader(usage_as: str) -> ReadUsage:
    """The reading for a model's `usage_as` quirk."""
    fold = usage_as == "xai"  # its completion leaves reasoning out

    def read(raw: bytes) -> Tokens | None:
        try:
            usage = _decode(raw)
        except msgspec.DecodeError:
            return None
        return _tokens(cast("dict[str, Any]", usage), fold) if isinstance(usage, dict) else None

    return read


def _tokens(usage: Mapping[str, Any], fold_reasoning: bool) -> Tokens | None:
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if prompt is None and completion is None:
        return None
    inputs, outputs = _table(usage, "prompt_tokens_details"), _table(usage, "completion_tokens_details")
    reasoning = _count(outputs, "reasoning_tokens") or 0
    cached = (
        _count(inputs, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens") or _count(usage, "cached_tokens")
    )
    q = Quantities.clamped(
        prompt or 0,
        (completion or 0) + (reasoning if fold_reasoning else 0),
        cached=cached or 0,
        reasoning=reasoning,
        image=_count(outputs, "image_tokens") or 0,
        search=_count(usage, "num_search_queries") or 0,
    )
    return Tokens(
        prompt=q.prompt,
        completion=q.completion,
        cached=q.cached,
        reasoning=q.reasoning,
        image=q.image,
        search=q.search,
    )


def _table(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = usage.get(name)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= 0 else None
