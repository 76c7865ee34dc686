"""Calls for adapters, and the bytes that the mock's dialects answer them with: no socket in between."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.catalogue.packaged import builtin
from gateway.deployments.deployment import Deployment
from gateway.wire.event import Tokens
from tests.provider.behaviour import parse_behaviour
from tests.provider.dialects.anthropic import Anthropic as AnthropicMock
from tests.provider.dialects.google import Google as GoogleMock
from tests.provider.dialects.openai import OpenAI as OpenAIMock
from tests.provider.plan import Plan, Request
from workers.answer import Collector
from workers.providers.base import (
    Delta,
    Done,
    Event,
    Failed,
    Fetched,
    ProviderCall,
    ProviderFailure,
    UpstreamRequest,
    Usage,
    Warned,
    Whole,
)
from workers.providers.dialects import adapter

ASK: list[dict[str, Any]] = [{"role": "user", "content": "안녕"}]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "날씨",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_MOCKS = {"anthropic": AnthropicMock(), "google": GoogleMock(), "openai": OpenAIMock()}


def call(
    model: str, *, stream: bool = True, cap: int | None = None, fetched: dict[str, Fetched] | None = None, **fields: Any
) -> ProviderCall:
    """A call to a model of the catalogue."""
    found = builtin().models[model]
    deployment = Deployment("d1", model, found.provider, "https://provider.test", found.upstream_id, "sk-secret-0001")
    body = {"model": model, "messages": ASK, **fields}
    raw = msgspec.json.decode(json.dumps(body, ensure_ascii=False), type=dict[str, msgspec.Raw])
    return ProviderCall(
        model=found,
        deployment=deployment,
        fields=raw,
        stream=stream,
        cap=cap,
        client_request_id="job.1.1",
        fetched=fetched or {},
    )


def sent(made: ProviderCall) -> UpstreamRequest:
    """What the adapter sends."""
    return adapter_of(made).request(made)


def body(model: str, **fields: Any) -> dict[str, Any]:
    """The body that the adapter sends; fails where it refuses."""
    request = sent(call(model, **fields))
    assert request.script is None, list(request.script.steps)
    return json.loads(request.content)


def refused(model: str, **fields: Any) -> dict[str, Any]:
    """The error that the adapter plays instead of sending."""
    made = call(model, **fields)
    script = sent(made).script
    assert script is not None and script.status == 400
    content = b"".join(data for _, data in script.steps)
    failure = adapter_of(made).failure(script.status, script.headers, content)
    assert (failure.kind, failure.retryable, failure.body) == ("bad_request", False, content)
    return json.loads(content)["error"]


def adapter_of(made: ProviderCall) -> Any:
    return adapter(made.model.quirks.dialect)


def plan(made: ProviderCall, behaviour: str = "") -> Plan:
    """The mock's answer to the adapter's own request."""
    request = sent(made)
    assert request.script is None
    path = request.url.removeprefix("https://provider.test")
    asked = Request("POST", path, dict(request.headers), request.content)
    return _MOCKS[made.model.quirks.dialect].plan(asked, lambda *_: parse_behaviour(behaviour))


def raw(answer: Plan) -> bytes:
    """All bytes of an answer that goes well."""
    if not answer.stream:
        return answer.body
    return answer.head + b"".join(map(answer.piece, range(answer.pieces))) + answer.tail + answer.last


def read(made: ProviderCall, data: bytes, cuts: Iterable[int] = ()) -> list[Event]:
    """The events of a body that arrives in pieces."""
    reader = adapter_of(made).reader(made)
    events: list[Event] = []
    start = 0
    for cut in [*sorted(cuts), len(data)]:
        events += reader.feed(data[start:cut])
        start = cut
    return events + reader.end()


def answered(made: ProviderCall, behaviour: str = "") -> list[Event]:
    """The events of the mock's answer."""
    return read(made, raw(plan(made, behaviour)))


def message(events: Sequence[Event]) -> dict[str, Any]:
    """The first choice of the answer that the events make, as a client that does not stream gets it."""
    return choices(events)[0]


def choices(events: Sequence[Event]) -> list[dict[str, Any]]:
    collector = Collector()
    for event in events:
        if isinstance(event, Whole):
            listed = event.fields["choices"]
            return msgspec.json.decode(listed) if isinstance(listed, msgspec.Raw) else listed
        if isinstance(event, Delta):
            collector.delta(event)
    assert isinstance(events[-1], Done), events[-1]
    return collector.fields()["choices"]


def tokens(events: Sequence[Event]) -> Tokens:
    """The last usage."""
    return [event.tokens for event in events if isinstance(event, Usage)][-1]


def failure(events: Sequence[Event]) -> ProviderFailure:
    """Why the answer failed."""
    assert isinstance(events[-1], Failed), events
    return events[-1].failure


def warnings(events: Sequence[Event]) -> list[str]:
    return [event.code for event in events if isinstance(event, Warned)]
