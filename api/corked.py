"""A connection's writes, gathered until the end of a tick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

CORKED_BYTES = 16 * 1024


class Corked:
    """A transport whose writes of one tick leave together: head and body of an answer wake the client once.

    What passes ``CORKED_BYTES`` leaves at once, so that the client's flow control is heard in time.

    Args:
        linger: asked when the connection is to be closed. True: only our side of it is, and the client is read on.
    """

    __slots__ = ("_linger", "_loop", "_over", "_parts", "_size", "_transport")

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, linger: Callable[[], bool]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._linger: Callable[[], bool] | None = linger
        self._over = False
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Of the transport."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > CORKED_BYTES:
            self._flush()

    def _flush(self) -> None:
        parts, self._parts, self._size = self._parts, [], 0
        if parts and not self._transport.is_closing():
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        """Of the transport."""
        self._flush()
        if self._linger is not None and not self._transport.is_closing() and self._linger():
            self._over = True
            self._transport.write_eof()
        else:
            self._transport.close()

    def is_closing(self) -> bool:
        """Of the transport."""
        return self._over or self._transport.is_closing()

    def lost(self) -> None:
        """The connection has ended: nobody is asked any more."""
        self._linger = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
