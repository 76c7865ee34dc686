"""HTTP/1.1 as strangers speak it: heads of bounded size, requests that arrive in bounded time, refusals in our shape.

httptools refuses what could be read in two ways (two lengths, a length beside chunks, a folded header). It knows no
limits, though, and uvicorn waits for ever for a request that has begun: both are here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Literal, cast

import structlog
import uvicorn
from litestar.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api import metrics
from api.answer import ABORT
from api.corked import Corked
from api.errors import Headers, Overloaded, error_answer, start_message, surface_of
from api.leaving import GONE
from gateway.errors import GatewayError, InvalidRequest

MOST_HEAD_BYTES = 64 * 1024
"""Request line and headers together: eight times what browsers and SDKs send, cookies of a whole company's domain too."""
MOST_HEADERS = 100
HEAD_S = 30.0
"""From a connection's beginning, or a request's first byte, to the end of its headers: slow lines need two."""
BODY_S = 60.0
"""A body may take this long however small it is,"""
BODY_BYTES_PER_S = 16 * 1024
"""and longer at this rate (the largest in 34 minutes), as long as nobody has answered it yet."""
LINGER_S = 5.0
"""How long who was refused may go on sending: what lies unread when a connection is closed takes the answer away from them."""
PROBES = frozenset(("/healthz", "/readyz", "/metrics"))
SWEEP_TICKS = 20
"""uvicorn's ticks (a tenth of a second) from one look at all connections to the next: ten thousand take some ms."""

log = structlog.get_logger()


class HeadTooLarge(InvalidRequest):
    """The request line and the headers pass the limit."""

    status, code, default = 431, "headers_too_large", "Request headers too large"


class TooSlow(InvalidRequest):
    """The request did not arrive in time."""

    status, code, default, retryable = 408, "request_timeout", "The request took too long to arrive.", True


class Config(uvicorn.Config):
    """uvicorn's, with limits that it does not know; see ``gateway.settings``."""

    most_connections = 16_000
    client_stall_s = 60.0
    refusal: Callable[[str, Iterable[tuple[bytes, bytes]]], tuple[int, Headers, bytes] | None] | None = None
    """What a request with this path and these headers is answered before the application hears of it; None: nothing."""


class Protocol(HttpToolsProtocol):
    """One connection. Gives an answer the means to cut it when its client does not read.

    ``_part`` is what is awaited since ``_since``: any request (``idle``), the rest of a head, the rest of a body, nothing
    while an answer is made (``done``), after which uvicorn's keep-alive timer takes over, or the end of a client that was
    refused (``over``).
    """

    # in uvicorn's dictionary they would be more names than instances can share: a kilobyte for each connection
    __slots__ = ("_answer", "_came", "_gone", "_lost", "_part", "_refusal", "_since", "_unread", "_unread_since")

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._part: Literal["idle", "head", "body", "done", "over"] = "idle"
        self._since = 0.0
        self._came = 0
        self._refusal: GatewayError | None = None
        self._unread = 0
        self._unread_since = 0.0
        self._gone: Callable[[], None] | None = None
        """Called when the client leaves, by whoever makes an answer."""
        self._lost = False
        self._answer: bytes | None = None
        """To a request that is refused at its head: it goes out when its body has come, which nobody reads."""

    def connection_made(self, transport: Any) -> None:
        """A connection begins."""
        super().connection_made(cast("asyncio.Transport", Corked(transport, self.loop, self._linger)))
        self._await("idle")
        if len(self.connections) > cast("Config", self.config).most_connections:
            metrics.CROWDED.inc()
            self.app = crowded(self.app)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left, or was cut."""
        super().connection_lost(exc)
        cast("Corked", self.transport).lost()  # it holds us, who hold it
        self._lost = True
        scope: Any = self.scope
        if scope is not None:
            scope["extensions"].clear()  # they hold us, who hold the scope: the collector would have to find us
        if self._gone is not None:
            self._gone()

    def _when_gone(self, call: Callable[[], None]) -> Callable[[], None]:
        self._gone = call
        if self._lost:
            call()
        else:
            self.flow.resume_reading()  # a long body stops it, and then nobody hears that the client leaves

        def forget() -> None:
            if self._gone is call:  # else the next request's answer is being made
                self._gone = None

        return forget

    def data_received(self, data: bytes) -> None:
        """More of a request. A head that comes in pieces is counted here: we are shown a header when it is complete."""
        before = self._part
        if before == "over":
            return
        super().data_received(data)
        if self._part == "head" and before != "body":  # after a body we cannot tell whose bytes these were
            self._came += len(data)
            if self._came > MOST_HEAD_BYTES:
                self.refuse(HeadTooLarge())
        elif self._part == "body":
            self._came += len(data)
        elif self._part == "done" and self.timeout_keep_alive_task is None and not self._answering:
            self._await("idle")  # uvicorn's timer was stopped by these bytes, and they began nothing

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._await("head")
        self.scope["extensions"] = {ABORT: self.transport.abort, GONE: self._when_gone}  # pyright: ignore[reportGeneralTypeIssues]

    def on_headers_complete(self) -> None:
        """The head is here. What is raised, httptools gives back as an error of its own: see ``send_400_response``."""
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MOST_HEAD_BYTES or len(self.headers) > MOST_HEADERS:
            self._refusal = HeadTooLarge()
            raise self._refusal
        self._answer = self._refusal_at_the_door()
        if self._answer is None:
            super().on_headers_complete()
        self._await("body")

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        if self._answer is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here."""
        self._part = "done"
        if self._answer is None:
            super().on_message_complete()
            return
        self.transport.write(self._answer)
        ends = b"\r\nconnection: close\r\n" in self._answer
        self._answer = None
        if ends:
            self.transport.close()
        else:
            self.on_response_complete()

    def _refusal_at_the_door(self) -> bytes | None:
        """The whole answer to a call of a flood: a task and an application for each would cost more than the calls that
        are let in, and those would wait for the refusals."""
        refuse = cast("Config", self.config).refusal
        parser: Any = self.parser
        if refuse is None or self._answering or self.expect_100_continue or parser.get_method() != b"POST":
            return None
        refusal = refuse(self.url.partition(b"?")[0].decode("latin-1"), self.headers)
        if refusal is None:
            return None
        status, headers, body = refusal
        if not parser.should_keep_alive():
            headers.append((b"connection", b"close"))
        lines = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        return b"".join([STATUS_LINE[status], *lines, b"\r\n", body])

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's signature
        """What cannot be read as HTTP, or passes a limit, is refused, and the connection ends."""
        self.refuse(self._refusal or InvalidRequest("The request is not valid HTTP/1.1."))

    def refuse(self, error: GatewayError) -> None:
        """Answers a request that did not come whole, and ends the connection. While another is being answered, or its
        client was refused before, there is only the end."""
        if self._part == "over" or (self._answering and (self._part != "body" or self.cycle.response_started)):
            self.transport.abort()
            return
        if self.transport.is_closing():
            return
        if self._part != "idle":
            status, headers, body = error_answer(error, "bizrouter")
            lines = [STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in headers), b"connection: close\r\n\r\n"]
            self.transport.write(b"".join([*lines, body]))
        self.transport.close()
        if self._answering:  # the handler waits for a body that will not come, and has nobody to answer
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _linger(self) -> bool:
        """Whether the client of a connection that is to be closed is still sending. It may go on for a while."""
        if self._part not in ("head", "body"):
            return False
        self._await("over")
        self.flow.resume_reading()
        return True

    def shutdown(self) -> None:
        """The process ends: nobody who is not being answered is waited for."""
        if self._part == "over" or not self._answering:
            self._part = "over"
            self.transport.close()
        else:
            super().shutdown()

    def overdue(self, now: float) -> bool:
        """Whether something has been awaited for longer than it may. ``now``: the loop's time."""
        waited = now - self._since
        match self._part:
            case "idle":
                return waited > self.timeout_keep_alive
            case "head":
                return waited > HEAD_S
            case "body" if not self.pipeline:  # else nobody reads it yet
                return waited > BODY_S + (self._came / BODY_BYTES_PER_S if self._answering else 0)
            case "over":
                return waited > LINGER_S
            case _:
                return False

    def stalled(self, now: float) -> bool:
        """Whether the client has taken no byte of what lies ready for it for longer than it may."""
        if not self.flow.write_paused:
            self._unread = 0
            return False
        unread = self.transport.get_write_buffer_size()
        if unread != self._unread:
            self._unread, self._unread_since = unread, now
        return now - self._unread_since > cast("Config", self.config).client_stall_s

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]

    def _await(self, part: Literal["idle", "head", "body", "over"]) -> None:
        self._part, self._since, self._came = part, self.loop.time(), 0


def end_overdue(connections: Iterable[Any], now: float) -> None:
    """Ends the connections whose requests do not arrive, or whose clients do not read."""
    ours = [one for one in connections if isinstance(one, Protocol)]
    late = [one for one in ours if one.overdue(now)]
    for connection in late:
        connection.refuse(TooSlow())
    for connection in ours:
        if connection.stalled(now):
            metrics.STALLED.inc()
            connection.transport.abort()
    if late:
        log.info("slow_connections_ended", connections=len(late))


def crowded(app: Any) -> Any:
    """Answers probes as ``app`` does, and tells everybody else that the process has too many connections."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await app(scope, receive, send)
            return
        status, headers, body = error_answer(Overloaded(), surface_of(scope["path"]))
        await send(start_message(status, [*headers, (b"connection", b"close")]))
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return answer
