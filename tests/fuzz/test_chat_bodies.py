"""Whatever bytes are sent to the calls of models: an answer, or an error in the documented shape that is not our fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from api.dialects import chat
from gateway.catalogue.packaged import builtin
from gateway.errors import InvalidRequest
from tests.fuzz import bodies
from tests.fuzz.scale import examples, some
from tests.fuzz.scene import Scene
from tests.workers.providers.calls import adapter_of
from tests.workers.providers.calls import call as provider_call

STEP = 7
"""Has no divisor in common with the number of odd values: every parameter and every value has its turn."""
TYPES = {
    400: {"invalid_request_error", "forbidden_content"}, 403: {"permission_denied"}, 404: {"model_not_found"},
    413: {"invalid_request_error"}, 503: {"service_unavailable"},
}  # fmt: skip
MODELS = (
    "openai/gpt-4o", "openai/gpt-5", "anthropic/claude-sonnet-4.5", "google/gemini-3-pro-preview",
    "google/gemini-2.5-flash-image", "deepseek/deepseek-v3.2", "minimax/minimax-m2", "perplexity/sonar", "sandbox/echo",
)  # fmt: skip
"""One of each way to translate."""


@pytest.fixture
def client(world: Scene) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": world.key, "Content-Type": "application/json"}
    with httpx.Client(base_url=world.url, headers=headers, timeout=60) as made:
        yield made


def wrong(response: httpx.Response) -> str:
    """What is wrong with an answer; nothing where nothing is."""
    kind = response.headers["content-type"]
    if response.status_code == 200:
        return "" if kind in ("application/json", "text/event-stream; charset=utf-8") else f"200 {kind}"
    if response.status_code not in TYPES or kind != "application/json":
        return f"{response.status_code} {kind} {response.text[:200]}"
    body = response.json()
    error: dict[str, Any] = body.get("error", {})
    always, sometimes = {"code", "message", "type"}, {"param", "details"}
    fits = body.keys() == {"error"} and always <= error.keys() <= always | sometimes and bool(error["message"])
    return (
        "" if fits and error["type"] in TYPES[response.status_code] else f"{response.status_code} {response.text[:200]}"
    )


def check(client: httpx.Client, path: str, sent: Iterable[bytes]) -> None:
    found: list[str] = []
    for raw in sent:
        try:
            said = wrong(client.post(path, content=raw))
        except httpx.HTTPError as error:
            said = repr(error)
        if said:
            found.append(f"{raw[:160]!r}: {said}")
    assert found == []


def test_every_parameter_with_every_kind_of_value(client: httpx.Client) -> None:
    check(client, "/api/v1/chat/completions", some(bodies.odd_chats(), STEP))


def test_legacy_completions_with_every_kind_of_value(client: httpx.Client) -> None:
    check(client, "/v1/completions", some(bodies.odd_completions(), STEP))


def test_what_is_hardly_json(client: httpx.Client) -> None:
    for path in ("/api/v1/chat/completions", "/v1/completions"):
        check(client, path, bodies.broken())


def test_bytes_at_random(client: httpx.Client) -> None:
    @settings(
        max_examples=examples(60), derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(bodies.mangled())
    def run(raw: bytes) -> None:
        for path in ("/api/v1/chat/completions", "/v1/completions"):
            assert wrong(client.post(path, content=raw)) == ""

    run()


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
