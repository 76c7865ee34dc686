"""Traces: off, they cost no import; on, a place travels as one header, and nothing without a sampled parent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway import tracing
from tests.otlp import collecting

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    import opentelemetry.trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing._Tracing, "api", opentelemetry.trace)
    monkeypatch.setattr(tracing._Tracing, "propagator", TraceContextTextMapPropagator())
    monkeypatch.setattr(tracing._Tracing, "tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def test_off_it_imports_no_tracer_and_makes_nothing() -> None:
    assert tracing.start("x", parent=PARENT) is None
    assert tracing.header(None) is None
    tracing.end(None, {"x": 1})
    program = (
        "import sys; import api.app, workers.calls, billing.app; from gateway import tracing; tracing.configure('api'); "
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk.trace', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_standard_variables_turn_it_on_and_off(environ: dict[str, str], expected: bool) -> None:
    assert tracing.wanted(environ) is expected


def test_a_span_stands_below_its_parent_and_names_its_place(spans: InMemorySpanExporter) -> None:
    span = tracing.start("job", "consumer", parent=PARENT, attributes={"n": 1}, start_ms=1_000, links=[PARENT])
    place = tracing.header(span)
    tracing.end(span, {"m": 2}, error="timeout", end_ms=2_000)
    [made] = spans.get_finished_spans()
    context: Any = made.get_span_context()
    assert made.parent is not None and f"{made.parent.span_id:016x}" == PARENT.split("-")[2]
    assert place == f"00-{PARENT.split('-')[1]}-{context.span_id:016x}-01"
    assert (made.start_time, made.end_time) == (1_000_000_000, 2_000_000_000)
    assert made.attributes == {"n": 1, "m": 2, "error.type": "timeout"} and len(made.links) == 1


def test_an_unsampled_parent_is_followed(spans: InMemorySpanExporter) -> None:
    assert tracing.start("job", parent=PARENT[:-2] + "00") is None
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize(
    "sent", [b"", b"00-xyz", b"0" * 55, b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01", b"x" * 4096]
)
def test_a_client_that_sends_nonsense_begins_a_trace_of_its_own(spans: InMemorySpanExporter, sent: bytes) -> None:
    parent = tracing.incoming([(b"host", b"h"), (b"traceparent", sent)])
    tracing.end(tracing.start("request", "server", parent=parent))
    [made] = spans.get_finished_spans()
    assert made.parent is None


def test_a_process_that_shall_trace_and_cannot_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    monkeypatch.setattr(tracing.importlib, "import_module", missing)
    with pytest.raises(tracing.TracingError, match=r"install wonrouter\[tracing\]"):
        tracing.configure("api")
    assert not tracing.on()


def test_spans_reach_a_collector_by_the_end_of_the_process() -> None:
    program = (
        "from gateway import tracing; tracing.configure('worker'); "
        "tracing.end(tracing.start('job', parent=None)); tracing.flush()"
    )
    with collecting() as collector:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
        subprocess.run([sys.executable, "-c", program], env=environ, check=True)
        assert [(span.service, span.name) for span in collector.spans] == [("wonrouter-worker", "job")]
