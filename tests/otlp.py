"""A collector of traces on 127.0.0.1: takes OTLP over HTTP, keeps the spans, and plays a provider that shows its headers."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_ANSWER = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "네"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}  # fmt: skip


@dataclass(frozen=True)
class Span:
    """One span as it was exported; ids in hexadecimal, empty for none."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    links: list[tuple[str, str]]
    attributes: dict[str, Any]
    start_ns: int
    end_ns: int


@dataclass
class Collector:
    """What has been received so far."""

    url: str
    spans: list[Span] = field(default_factory=list[Span])
    raw: list[bytes] = field(default_factory=list[bytes])
    called: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    """Headers of calls to the provider that it plays, names in lower case."""

    def of(self, trace: str) -> list[Span]:
        """The spans of one trace."""
        return [span for span in list(self.spans) if span.trace == trace]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            if self.path.endswith("/v1/traces"):
                body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
                collector.raw.append(body)
                collector.spans.extend(_spans(body))
                self._answer(b"", "application/x-protobuf")
            else:
                collector.called.append({name.lower(): value for name, value in self.headers.items()})
                self._answer(json.dumps(_ANSWER).encode(), "application/json")

        def _answer(self, body: bytes, media_type: str) -> None:
            self.send_response(200)
            self.send_header("content-type", media_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()


def _spans(body: bytes) -> Iterator[Span]:
    request: Any = ExportTraceServiceRequest.FromString(body)
    for of_resource in request.resource_spans:
        resource = {each.key: each.value.string_value for each in of_resource.resource.attributes}
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    resource.get("service.name", ""), span.name, span.trace_id.hex(), span.span_id.hex(),
                    span.parent_span_id.hex(), [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    {each.key: _value(each.value) for each in span.attributes},
                    span.start_time_unix_nano, span.end_time_unix_nano,
                )  # fmt: skip


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
