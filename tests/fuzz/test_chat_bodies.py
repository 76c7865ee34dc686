"""Whatever the front end lets in of a call's body: each provider's adapter translates it, or refuses it in our words."""

from __future__ import annotations

import msgspec
import pytest

from api.dialects import chat
from gateway.catalogue.packaged import builtin
from gateway.errors import InvalidRequest
from tests.fuzz import bodies
from tests.workers.providers.calls import adapter_of
from tests.workers.providers.calls import call as provider_call

MODELS = (
    "openai/gpt-4o", "openai/gpt-5", "anthropic/claude-sonnet-4.5", "google/gemini-3-pro-preview",
    "google/gemini-2.5-flash-image", "deepseek/deepseek-v3.2", "minimax/minimax-m2", "perplexity/sonar", "sandbox/echo",
)  # fmt: skip
"""One of each way to translate."""


@pytest.mark.parametrize("model", MODELS)
def test_what_was_let_in_is_translated_or_refused_for_every_provider(model: str) -> None:
    base = provider_call(model)
    adapter = adapter_of(base)
    found: list[str] = []
    for raw in bodies.odd_chats():
        try:
            left = chat.without(raw, chat.check_for(chat.parse(raw, 64), builtin().models[model]))
        except InvalidRequest:
            continue
        fields = msgspec.json.decode(left, type=dict[str, msgspec.Raw])
        for stream in (False, True):
            wanted = msgspec.structs.replace(base, fields=fields, stream=stream)
            try:
                adapter.to_fetch(wanted)
                adapter.request(wanted)
                adapter.reader(wanted)
            except Exception as error:  # noqa: BLE001
                found.append(f"{raw[:200]!r}: {error!r}")
    assert found == []
