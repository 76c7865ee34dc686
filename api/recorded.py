"""An answer that is written down while it is sent, and goes on to its end when its client has left."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar.types import Receive, Scope, Send

from api.errors import Headers
from api.leaving import when_left

_ERROR_EVENT = b'data: {"error":'


class Recording:
    """Takes an application's messages. Once there are more than ``most`` bytes nothing is kept any more, and whoever
    writes waits for whoever reads, as without a recording.

    ``complete``: the last message has come. ``failed``: it is an error, as HTTP or within a stream.
    """

    def __init__(self, most: int) -> None:
        self.status = 0
        self.headers: Headers = []
        self.complete = False
        self.failed = False
        self.overflowed = False
        self.error: Exception | None = None
        self._most = most
        self._size = 0
        self._parts: list[bytes] = []
        self._waiting: list[Any] = []
        self._news = asyncio.Event()
        self._read = asyncio.Event()
        self._last: Any = None
        self._ended = False
        self._deserted = False

    @property
    def body(self) -> bytes:
        """All that was sent; empty where it was too much."""
        return b"".join(self._parts)

    async def take(self, message: Any) -> None:
        """The application's ``send``."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
            self.failed = self.status >= 400
        else:
            self._note(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        if self.complete:
            self._last = message  # goes out once the answer is kept: whoever asks again then finds it
        elif not self._deserted:
            self._waiting.append(message)
        self._news.set()
        while self.overflowed and self._waiting and not self._deserted:
            self._read.clear()
            await self._read.wait()

    def fail(self, error: Exception) -> None:
        """The application raised."""
        self.error = error

    def end(self) -> None:
        """Nothing more will come, and what came is kept: the last message may go."""
        if self._last is not None and not self._deserted:
            self._waiting.append(self._last)
        self._ended = True
        self._news.set()

    def desert(self) -> None:
        """Nobody reads any more."""
        self._deserted = True
        self._waiting.clear()
        self._read.set()

    async def messages(self) -> list[Any] | None:
        """What has come since the last call; None at the end. Raises what the application raised."""
        while not self._waiting and not self._ended:
            self._news.clear()
            await self._news.wait()
        if not self._waiting:
            if self.error is not None and self.status == 0:
                raise self.error
            return None
        taken, self._waiting = self._waiting, []
        self._read.set()
        return taken

    def _note(self, body: bytes) -> None:
        if body.startswith(_ERROR_EVENT):
            self.failed = True
        self._size += len(body)
        if self._size > self._most:
            self.overflowed = True
            self._parts.clear()
        else:
            self._parts.append(body)


class Recorded:
    """Sends a recording to its client while it is made."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Returns at the end of the answer, or when the client leaves."""
        sending, left = asyncio.create_task(self._send(send)), asyncio.Event()
        leaving = asyncio.create_task(left.wait())
        stop = when_left(scope, receive, left.set)
        try:
            await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            stop()
            sending.cancel()
            leaving.cancel()
            self._recording.desert()

    async def _send(self, send: Send) -> None:
        while (messages := await self._recording.messages()) is not None:
            for message in messages:
                await send(message)
