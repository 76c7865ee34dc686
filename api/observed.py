"""Around everything: request ids, metrics, the log line, and the word that this process is about to stop."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import Any

import structlog
from litestar.types import ASGIApp, Receive, Scope, Send

from api import metrics
from api.errors import Headers, Overloaded, error_answer, start_message, surface_of
from api.parts import Parts
from api.seen import SEEN, Seen
from gateway import tracing

_SURFACES = ("/api/v1", "/v1")
_ENDPOINTS = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/models": "models",
    "/generation": "generation",
    "/credits": "credits",
    "/key": "key",
}

_OURS = ("/api/", "/v1/")
_NOSNIFF = (b"x-content-type-options", b"nosniff")
"""An answer is what it says: a provider's error page that calls itself text is never a page of this address."""
_NO_STORE = (b"cache-control", b"no-store")
"""What a credential opened stays in no cache, ours or a browser's."""

log = structlog.get_logger()


class Observed:
    """Wraps the application.

    Args:
        app: what answers.
        parts: tells whether the process is about to stop.
    """

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        self.app = app
        self.parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, counts and logs one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if (refusal := self.refusal(scope["path"], scope["headers"])) is not None:
            status, headers, body = refusal
            await send(start_message(status, headers))
            await send({"type": "http.response.body", "body": body, "more_body": False})
            return
        notes = Seen()
        scope[SEEN] = notes  # pyright: ignore[reportGeneralTypeIssues]
        began = time.perf_counter()
        span = _span(scope) if tracing.on() else None

        async def observed_send(message: Any) -> None:
            if message["type"] == "http.response.start":
                notes.status = message["status"]
                headers = list(message["headers"])
                headers.append((b"x-request-id", (notes.request_id or uuid.uuid4().hex).encode()))
                if scope["path"].startswith(_OURS):
                    headers.append(_NOSNIFF)
                    if not any(name == b"cache-control" for name, _ in headers):
                        headers.append(_NO_STORE)
                if self.parts.draining:
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            await send(message)

        try:
            await self.app(scope, receive, observed_send)
        finally:
            self.parts.pressure.leave(notes)
            self._audit(notes)
            self._count(scope, notes, time.perf_counter() - began)
            if span is not None:
                _end_span(span, notes)

    def refusal(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, Headers, bytes] | None:
        """Status, headers and body for a call of a flood, before it costs anything: neither routes nor the log see it.
        None for everybody else."""
        if not self.parts.pressure.closed or not path.endswith("/completions"):
            return None
        try:
            self.parts.pressure.let_in(self.parts.identities.organisation(headers))
        except Overloaded as error:
            surface = surface_of(path)
            status, told, body = error_answer(error, surface)
            told += [(b"x-request-id", uuid.uuid4().hex.encode()), _NOSNIFF, _NO_STORE]
            if self.parts.draining:
                told.append((b"connection", b"close"))
            endpoint = "chat" if path.endswith("/chat/completions") else "completions"
            metrics.REQUESTS.labels(surface, endpoint, status).inc()
            return status, told, body
        return None

    def _audit(self, notes: Seen) -> None:
        note, org, key = self.parts.guardrail_log.note, notes.org, notes.key
        if notes.word:
            note(org, key, "", "word", "request", {})
        elif notes.blocked:
            note(org, key, "", "blocked", "request", notes.blocked)
        elif notes.masked and notes.request_id:  # without an id it was refused for something else: nothing left
            note(org, key, notes.request_id, "masked", "request", notes.masked)
        if notes.answer:
            note(org, key, notes.request_id, "masked", "answer", notes.answer)

    def _count(self, scope: Any, notes: Seen, seconds: float) -> None:
        surface, endpoint = _asked(scope["path"])
        if not surface:
            return  # probes and scrapes would drown the rest
        metrics.answered(surface, endpoint, notes.status or 499, notes.ended, seconds, notes.first_s)
        log.info(
            "answered",
            request_id=notes.request_id,
            surface=surface,
            endpoint=endpoint,
            org=notes.org,
            key=notes.key,
            model=notes.model,
            status=notes.status or 499,
            ms=round(seconds * 1000, 1),
        )


def _asked(path: str) -> tuple[str, str]:
    """Surface and endpoint of a path, from lists of our own; no surface for what is not the customers' API."""
    for base in _SURFACES:
        if path.startswith(base + "/"):
            rest = path[len(base) :]
            return surface_of(path), _ENDPOINTS.get(rest, "models" if rest.startswith("/models/") else "other")
    return "", "other"


def _span(scope: Any) -> Any:
    """The request's span, below the client's own where it sent one; what is done for the request finds it."""
    surface, endpoint = _asked(scope["path"])
    if not surface:
        return None
    attributes = {"http.request.method": scope["method"], "http.route": endpoint, "wonrouter.surface": surface}
    span = tracing.start(
        f"{scope['method']} {endpoint}", "server", parent=tracing.incoming(scope["headers"]), attributes=attributes
    )
    tracing.PLACE.set(tracing.header(span))  # a server runs each request in a context of its own
    return span


def _end_span(span: Any, notes: Seen) -> None:
    status = notes.status or 499
    outcome = notes.ended or metrics.outcome_of(status)
    told: dict[str, tracing.Value] = {"http.response.status_code": status, "wonrouter.outcome": outcome}
    for name, value in (("job", notes.request_id), ("org", notes.org), ("model", notes.model)):
        if value:
            told[f"wonrouter.{name}"] = value
    if notes.first_s >= 0:
        told["wonrouter.first_frame_s"] = round(notes.first_s, 4)
    tracing.end(span, told, error=outcome if outcome in {"failed", "broken"} else "")
