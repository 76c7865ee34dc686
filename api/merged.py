"""Answers of several jobs on their way to one client, as legacy completions. An ASGI response."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
from litestar.types import Receive, Scope, Send

from api.answer import ABORT, KEEP_ALIVE, SSE, sse_error
from api.dialects.completions import Sum, Translator, Wanted, chunks_in, head_of
from api.errors import JSON, Headers, error_answer, start_message
from api.leaving import when_left
from api.relay import Relay
from api.reply import Reply, Wake
from api.seen import seen
from gateway.wire.frame import Final
from gateway.wire.job import Surface

DONE = b"data: [DONE]\n\n"


class Merged:
    """Carries the replies of one request's prompts, in the prompts' order.

    One failure fails the whole answer: the others are cancelled, and what they delivered is charged like any call.
    """

    def __init__(
        self,
        relay: Relay,
        replies: list[Reply],
        wanted: Wanted,
        include_usage: bool,
        headers: Headers,
        surface: Surface,
    ) -> None:
        self._relay = relay
        self._replies = replies
        self._wanted = wanted
        self._include_usage = include_usage
        self._headers = headers
        self._surface: Surface = surface
        self._started = False
        self._usage = Sum()
        self._head: dict[str, Any] = {}
        self._wake = Wake()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer."""
        extensions: dict[str, Any] = cast("dict[str, Any]", scope).get("extensions") or {}
        for reply in self._replies:
            reply.cut_with(extensions.get(ABORT))
            reply.wake = self._wake  # whoever has something wakes the one writer
        self._wake.set()
        stop = when_left(scope, receive, self._client_left)
        try:
            await (self._stream(send) if self._wanted.stream else self._whole(send))
        finally:
            stop()
            for reply in self._replies:
                seen(scope).answer_of(reply)
                self._relay.close(reply)

    def _client_left(self) -> None:
        for reply in self._replies:
            reply.client_left()

    @property
    def _left(self) -> bool:
        return any(reply.left for reply in self._replies)

    async def _whole(self, send: Send) -> None:
        finals: list[Final] = []
        while len(finals) < len(self._replies):
            await self._wake.wait()
            if self._left or await self._failed(send):
                return
            finals = [reply.final for reply in self._replies if reply.final is not None]
        choices: list[dict[str, Any]] = []
        for at, final in enumerate(finals):
            answer: dict[str, Any] = msgspec.json.decode(final.body)
            self._head = self._head or head_of(answer, self._replies[0].job)
            choices += Translator(self._wanted, at).whole(answer)
            self._usage.add(answer.get("usage") or {})
        body = msgspec.json.encode({**self._head, "choices": choices, "usage": self._usage.total})
        extra: Headers = [JSON, (b"content-length", str(len(body)).encode())]
        attempts = ", ".join(final.headers.get("x-wonrouter-attempts", "") for final in finals)
        extra.append((b"x-wonrouter-attempts", attempts.encode("latin-1", "replace")))
        await self._start(send, 200, extra)
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _stream(self, send: Send) -> None:
        translators = [Translator(self._wanted, at) for at in range(len(self._replies))]
        open_ = set(range(len(self._replies)))
        while open_:
            await self._wake.wait()
            if self._left:
                return
            parts: list[bytes] = []
            for at in sorted(open_):
                reply = self._replies[at]
                data = reply.drain()
                if reply.final is not None and reply.final.status < 400:
                    data += reply.final.body
                    open_.discard(at)
                parts.append(self._events(translators[at], data))
            text = b"".join(parts)
            if text:
                await self._send(send, text)
            if await self._failed(send):
                return
            if not text and any(reply.quiet for reply in self._replies):
                await self._send(send, KEEP_ALIVE)
        usage = b""
        if self._include_usage:
            usage = b"data: " + msgspec.json.encode({**self._head, "choices": [], "usage": self._usage.total}) + b"\n\n"
        await self._send(send, usage + DONE)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _events(self, translator: Translator, data: bytes) -> bytes:
        parts: list[bytes] = []
        for chunk in chunks_in(data):
            self._head = self._head or head_of(chunk, self._replies[0].job)
            if usage := chunk.get("usage"):
                self._usage.add(usage)
            more = {"usage": None} if self._include_usage else {}
            objects = [{**self._head, "choices": [choice], **more} for choice in translator.pieces(chunk)]
            parts += [b"data: " + msgspec.json.encode(each) + b"\n\n" for each in objects]
        return b"".join(parts)

    async def _failed(self, send: Send) -> bool:
        """Sends the first failure there is, and says so."""
        for reply in self._replies:
            final = reply.final
            if final is not None and final.status >= 400:
                extra: Headers = [(b"content-type", final.content_type.encode("latin-1", "replace"))]
                if final.source == "provider":
                    extra.append((b"x-wonrouter-error-source", b"provider"))
                extra += [(k.lower().encode(), v.encode("latin-1", "replace")) for k, v in final.headers.items()]
                await self._fail(send, final.status, extra, final.body)
                return True
            if reply.error is not None:
                status, headers, body = error_answer(reply.error, self._surface)
                await self._fail(send, status, headers, body)
                return True
        return False

    async def _fail(self, send: Send, status: int, headers: Headers, body: bytes) -> None:
        if self._started:
            await self._send(send, sse_error(body))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        if any(reply.final is not None and reply.final.charged for reply in self._replies):
            headers = [*headers, (b"x-should-retry", b"false")]  # trying again would be paid twice
        await self._start(send, status, headers)
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _send(self, send: Send, data: bytes) -> None:
        if not self._started:
            await self._start(send, 200, SSE)
        await send({"type": "http.response.body", "body": data, "more_body": True})
        now = asyncio.get_running_loop().time()
        for reply in self._replies:
            reply.sent(now)

    async def _start(self, send: Send, status: int, headers: Headers) -> None:
        self._started = True
        await send(start_message(status, [*self._headers, *headers]))
