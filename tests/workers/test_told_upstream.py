"""Around a call: traces for providers where the operator wants it, the slow lane's name, and no call that is not noted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway import tracing
from gateway.credit import running
from tests.provider.server import Provider
from tests.workers.line import Line, chat, deployment, started

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(tracing._Tracing, "api", trace)
    monkeypatch.setattr(tracing._Tracing, "propagator", TraceContextTextMapPropagator())
    monkeypatch.setattr(tracing._Tracing, "tracer", provider.get_tracer("test"))
    yield
    provider.shutdown()


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.usefixtures("traced")
async def test_providers_learn_of_traces_only_where_the_operator_says_so(
    line: Line, provider: Provider, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    worker = await started(line, [deployment(provider.base_url)], trace_upstreams=told)
    sent: list[Mapping[str, str]] = []
    send = worker.room.http.send

    async def seen(method: str, url: str, headers: Mapping[str, str], content: bytes) -> Any:
        sent.append(headers)
        return await send(method, url, headers, content)

    monkeypatch.setattr(worker.room.http, "send", seen)
    await worker.run(await line.place(chat("[[mock tokens=1]]"), trace=f"00-{TRACE}-b7ad6b7169203331-01"))
    assert [TRACE in headers.get("traceparent", "") for headers in sent] == [told]
    await worker.drain(5)
    await worker.close()


@pytest.mark.parametrize("background", [True, False])
async def test_an_answer_says_that_it_came_from_the_background(
    line: Line, provider: Provider, background: bool
) -> None:
    worker = await started(line, [deployment(provider.base_url)])
    whole, streamed = [
        await line.place(chat("[[mock tokens=3]]", stream=stream), background=background) for stream in (False, True)
    ]
    for job in (whole, streamed):
        await worker.run(job)
    final = (await line.ended(whole)).final
    assert final is not None
    tiers = {chunk.get("service_tier") for chunk in (await line.ended(streamed)).chunks()[1:]}
    said = {json.loads(final.body).get("service_tier"), *tiers}
    assert said == {"flex"} if background else "flex" not in said
    await worker.drain(5)
    await worker.close()


async def test_no_further_call_is_made_while_its_note_cannot_be_saved(
    line: Line, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await started(line, [deployment(provider.base_url)], heartbeat_s=60, backoff_s=0.01)
    refused: list[int] = []
    renew = running.renew

    async def away(*args: Any) -> list[int]:
        if len(provider.log.calls) == 1 and len(refused) < 4:
            refused.append(1)
            raise ConnectionError("Redis is away")
        return await renew(*args)

    monkeypatch.setattr(running, "renew", away)
    job = await line.place(chat("[[mock error=500]]"))
    await worker.run(job)
    assert len(refused) == 4
    assert len(provider.log.calls) > 1
    assert (await line.ended(job)).final is not None
    await worker.drain(5)
    await worker.close()
