"""Which adapter speaks which dialect of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping

from workers.providers.anthropic import Anthropic
from workers.providers.base import Adapter
from workers.providers.google import Google
from workers.providers.openai import OpenAI
from workers.providers.sandbox import Sandbox

ADAPTERS: Mapping[str, Adapter] = {
    "openai": OpenAI(),
    "anthropic": Anthropic(),
    "google": Google(),
    "sandbox": Sandbox(),
}


def adapter(dialect: str) -> Adapter | None:
    """The adapter of a dialect; None where this build does not speak it."""
    return ADAPTERS.get(dialect)
