"""OpenTelemetry: one trace from the HTTP request through the queue to the providers and the settlement.

Off unless the standard variables name where traces go (``OTEL_EXPORTER_OTLP_ENDPOINT`` or
``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``); then neither tracer nor exporter is imported, and every function here returns at
its first line. On, the SDK reads all of its ``OTEL_*`` variables itself: sampler (parent-based), headers, resource.

A span's place travels as a W3C ``traceparent`` header inside the sealed job and the usage event. Where the request's own
span is not sampled nothing travels, and nobody further on records anything. Attributes hold ids, names of our own,
numbers and kinds of failure: never a text of a request or answer, a key, or anything of a person.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Literal

import click

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | int | float | bool
Attributes = Mapping[str, Value]

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
FLUSH_MS = 3_000
"""How long the end of a process waits for its last spans to go out: a collector that is away must not hold it up."""
HEADER_LENGTH = 55
"""Of a ``traceparent`` in its one known version; a longer one is of no version that is known here."""

PLACE: ContextVar[str | None] = ContextVar("wonrouter_trace", default=None)
"""The ``traceparent`` of the request's span, for what is done on its way."""


class TracingError(click.ClickException):
    """Traces are asked for and cannot be made; the text says what is missing."""


class _Tracing:
    """The SDK's parts, once they are there."""

    tracer: Any = None
    provider: Any = None
    api: Any = None
    propagator: Any = None


def wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment names a place for traces and does not turn them off."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return False
    return any(environ.get(name) for name in ENDPOINTS)


def configure(process: str) -> None:
    """Begins to trace where the environment asks for it; ``process`` is api, worker or billing.

    Raises ``TracingError`` where the ``tracing`` extra is not installed.
    """
    if not wanted():
        return
    try:
        api = importlib.import_module("opentelemetry.trace")
        sdk = importlib.import_module("opentelemetry.sdk.trace")
        export = importlib.import_module("opentelemetry.sdk.trace.export")
        otlp = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        resources = importlib.import_module("opentelemetry.sdk.resources")
        tracecontext = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
    except ImportError as error:
        raise TracingError(
            f"{ENDPOINTS[1]} is set, and {error.name} is not there: install wonrouter[tracing]"
        ) from error
    name = os.environ.get("OTEL_SERVICE_NAME") or f"wonrouter-{process}"
    provider = sdk.TracerProvider(resource=resources.Resource.create({"service.name": name}), shutdown_on_exit=False)
    provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    _Tracing.api, _Tracing.provider = api, provider
    _Tracing.propagator = tracecontext.TraceContextTextMapPropagator()
    _Tracing.tracer = provider.get_tracer("wonrouter")


def on() -> bool:
    """Whether spans are made."""
    return _Tracing.tracer is not None


def flush() -> None:
    """Sends what has gathered; called at a process's end."""
    if _Tracing.provider is not None:
        _Tracing.provider.force_flush(FLUSH_MS)


def start(
    name: str,
    kind: Kind = "internal",
    *,
    parent: str | None,
    attributes: Attributes | None = None,
    start_ms: int | None = None,
    links: Sequence[str] = (),
) -> Any:
    """A span, or None where none is recorded.

    Args:
        parent: a ``traceparent``; None begins a trace. What cannot be read as one counts as none.
        start_ms: when it began, milliseconds since 1970; now where not given.
        links: ``traceparent`` of spans that belong to it without being above it.
    """
    if _Tracing.tracer is None:
        return None
    api = _Tracing.api
    span = _Tracing.tracer.start_span(
        name,
        context=_context(parent),
        kind=api.SpanKind[kind.upper()],
        attributes=attributes,
        links=[api.Link(api.get_current_span(_context(link)).get_span_context()) for link in links],
        start_time=None if start_ms is None else start_ms * 1_000_000,
    )
    return span if span.is_recording() else None


def end(span: Any, attributes: Attributes | None = None, *, error: str = "", end_ms: int | None = None) -> None:
    """Ends a span; ``error``: the kind of failure, where it is one. None is no span."""
    if span is None:
        return
    if attributes:
        span.set_attributes(attributes)
    if error:
        span.set_attribute("error.type", error)
        span.set_status(_Tracing.api.StatusCode.ERROR)
    span.end(None if end_ms is None else end_ms * 1_000_000)


def header(span: Any) -> str | None:
    """The ``traceparent`` that puts others below this span."""
    if span is None:
        return None
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def incoming(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """A client's ``traceparent``. Its ``tracestate`` and ``baggage`` are not taken: they may hold anything."""
    for name, value in headers:
        if name == b"traceparent":
            return value.decode("latin-1") if len(value) == HEADER_LENGTH else None
    return None


def _context(traceparent: str | None) -> Any:
    """An empty context where there is no parent: whatever else may be current in this thread is none of ours."""
    contexts = importlib.import_module("opentelemetry.context")
    carrier = {"traceparent": traceparent} if traceparent else {}
    return _Tracing.propagator.extract(carrier, context=contexts.Context())
