"""Whoever answers a request learns when its client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from litestar.types import Receive, Scope

GONE = "wonrouter.gone"
"""The scope extension (``api.protocol``): takes what is called when the client leaves, and returns what takes that back. ASGI's
own way is a task for each request that waits for ``http.disconnect``."""


def when_left(scope: Scope, receive: Receive, left: Callable[[], None]) -> Callable[[], object]:
    """Calls ``left`` when the client leaves, once, at once where it has left already. Returns what ends that."""
    extensions: dict[str, Any] = cast("dict[str, Any]", scope).get("extensions") or {}
    tell: Callable[[Callable[[], None]], Callable[[], object]] | None = extensions.get(GONE)
    return asyncio.create_task(_wait(receive, left)).cancel if tell is None else tell(left)


async def _wait(receive: Receive, left: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    left()
