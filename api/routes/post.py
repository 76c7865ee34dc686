"""Routes whose requests are counted by the thousand: plain ASGI within Litestar's routing and error handling.

A handler of Litestar's own costs a tenth of a millisecond a request for what these do not use: parameters, dependencies,
response classes. Here a route takes the scope and answers with an ASGI application.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import ASGIApp

from api.errors import MethodNotAllowed, start_message
from api.routes import BASES
from gateway.errors import BodyTooLarge, InvalidRequest

Body = Callable[[Callable[[int], None]], Awaitable[bytes]]
"""Reads the request's whole body, and tells as soon as it knows more how many bytes that are. Raises ``BodyTooLarge``,
``InvalidRequest`` where the client leaves within it, and what is raised by whoever is told."""

_ALLOWED = (b"allow", b"OPTIONS, POST")


def post_route(path: str, most_bytes: int, respond: Callable[[Any, Body], Awaitable[ASGIApp]]) -> ASGIRouteHandler:
    """The handler of POST on ``path``, under both base paths.

    Args:
        path: what follows the base path.
        most_bytes: a longer body is refused.
        respond: from the request's scope, and what reads its body, to the answer.
    """

    @asgi([base + path for base in BASES], copy_scope=False)
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] != "POST":
            if scope["method"] != "OPTIONS":
                raise MethodNotAllowed()
            await send(start_message(204, [_ALLOWED]))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        app = await respond(scope, lambda hold: _whole(scope["headers"], receive, most_bytes, hold))
        await app(scope, receive, send)

    return answer


async def _whole(
    headers: Iterable[tuple[bytes, bytes]], receive: Any, most_bytes: int, hold: Callable[[int], None]
) -> bytes:
    for name, value in headers:
        # what is announced need not be read; what comes without being announced is counted
        if name == b"content-length" and value.isdigit():
            if int(value) > most_bytes:
                raise BodyTooLarge()
            hold(int(value))
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("The request ended before its body did.")
        part: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(part)
        if size > most_bytes:
            raise BodyTooLarge()
        hold(size)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
