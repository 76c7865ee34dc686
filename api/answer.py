"""One job's answer on its way to its client: JSON or server-sent events. An ASGI response."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
from litestar.types import Receive, Scope, Send

from api.errors import Headers, error_answer, start_message
from api.leaving import when_left
from api.relay import Relay
from api.reply import Reply
from api.seen import seen
from gateway.errors import GatewayError
from gateway.wire.frame import Final
from gateway.wire.job import Surface

SLICE = 64 * 1024
"""Bytes handed to the server at once: more would lie in its buffer, out of reach of the client's limit."""
KEEP_ALIVE = b": keep-alive\n\n"
ABORT = "wonrouter.abort"
"""The scope extension (see api.server) that cuts a connection whose client does not read."""

SSE: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the events
]


class Answer:
    """Carries ``reply`` to the client and closes it, whatever happens.

    Args:
        relay: where ``reply`` is open.
        reply: the job's frames.
        headers: go out with the answer, whatever its status.
        surface: decides the status of an exhausted credit.
    """

    def __init__(self, relay: Relay, reply: Reply, headers: Headers, surface: Surface) -> None:
        self._relay = relay
        self._reply = reply
        self._headers = headers
        self._surface: Surface = surface
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer: as an HTTP error where it failed before any byte was out."""
        reply = self._reply
        extensions: dict[str, Any] = cast("dict[str, Any]", scope).get("extensions") or {}
        reply.cut_with(extensions.get(ABORT))
        stop = when_left(scope, receive, reply.client_left)
        try:
            while not reply.left:
                await reply.wake.wait()
                if await self._write(send):
                    return
        finally:
            stop()
            seen(scope).answer_of(reply)
            self._relay.close(reply)

    async def _write(self, send: Send) -> bool:
        """Sends what there is. True once the answer is complete."""
        reply = self._reply
        if reply.left:
            return False
        if data := reply.drain():
            await self._send_events(send, data)
        if reply.left:
            return False
        if reply.final is not None:
            await self._finish(send, reply.final)
            return True
        if reply.error is not None:
            await self._break(send, reply.error)
            return True
        if reply.quiet and not data:
            await self._send_events(send, KEEP_ALIVE)
        return False

    async def _send_events(self, send: Send, data: bytes) -> None:
        reply = self._reply
        if not self._started:
            await self._start(send, 200, SSE)
        for at in range(0, len(data), SLICE):
            if reply.left:
                return
            await send({"type": "http.response.body", "body": data[at : at + SLICE], "more_body": True})
        reply.sent(asyncio.get_running_loop().time())

    async def _finish(self, send: Send, final: Final) -> None:
        if self._reply.stream and (final.status < 400 or self._started):
            if final.status < 400:
                await self._send_events(send, final.body)
            else:
                await self._send_events(send, sse_error(final.body))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        extra: Headers = [
            (name.lower().encode(), value.encode("latin-1", "replace")) for name, value in final.headers.items()
        ]
        if final.source == "provider" and final.status >= 400:
            extra.append((b"x-wonrouter-error-source", b"provider"))
        if final.status >= 400 and final.charged:
            extra.append((b"x-should-retry", b"false"))  # trying again would be paid twice
        extra.append((b"content-type", final.content_type.encode("latin-1", "replace")))
        extra.append((b"content-length", str(len(final.body)).encode()))
        await self._start(send, final.status, extra)
        await send({"type": "http.response.body", "body": final.body, "more_body": False})

    async def _break(self, send: Send, error: GatewayError) -> None:
        if not self._started:
            status, headers, body = error_answer(error, self._surface)
            await self._start(send, status, headers)
            await send({"type": "http.response.body", "body": body, "more_body": False})
            return
        await self._send_events(send, sse_error(msgspec.json.encode(error.body())))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start(self, send: Send, status: int, headers: Headers) -> None:
        self._started = True
        await send(start_message(status, [*self._headers, *headers]))


def sse_error(body: bytes) -> bytes:
    """The event that ends a broken stream. The SDKs raise it; it always has message, type, param and code."""
    error: dict[str, Any] = {"message": "The provider failed.", "type": "provider_error", "param": None, "code": None}
    try:
        said: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        said = None
    inner: Any = said.get("error", said) if isinstance(said, dict) else said  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if isinstance(inner, dict):
        error.update(inner)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(inner, str):
        error["message"] = inner
    return b"data: " + msgspec.json.encode({"error": error}) + b"\n\n"
