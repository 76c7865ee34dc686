"""Connections to Redis, built in one place.

Commands are never sent twice after a lost reply: an admission that was carried out must not be carried out again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, MutableSequence
from time import monotonic
from typing import Any, cast

import hiredis
import redis as blocking
import redis.asyncio as aio
from redis import exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

CONNECT_TIMEOUT_S = 2.0
REPLY_TIMEOUT_S = 5.0
"""Redis answers in microseconds; five seconds of silence is an outage, and callers get 503."""
GRACE_S = 0.05


def connect(url: str, *, reply_timeout_s: float | None = REPLY_TIMEOUT_S) -> blocking.Redis:
    """A blocking client, for billing and the command line. Replies are bytes."""
    return blocking.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=reply_timeout_s,
        socket_keepalive=True,
    )


def connect_async(url: str, *, reply_timeout_s: float | None = REPLY_TIMEOUT_S) -> aio.Redis:
    """An asyncio client. Replies are bytes."""
    return aio.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        retry=AsyncRetry(NoBackoff(), 0),
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=reply_timeout_s,
        socket_keepalive=True,
    )


def packed(*args: Any) -> bytes:
    """A command as it travels."""
    return cast("bytes", hiredis.pack_command(args))  # pyright: ignore[reportUnknownMemberType]


class Wire(asyncio.Protocol):
    """An open connection without a task or a coroutine between the socket and whoever hears what comes.

    redis-py opens it (address, TLS, credentials, database) and hands it over: its own way of sending and reading takes
    some 60 microseconds more for every command.

    Args:
        connection: redis-py's, connected; it forgets its streams.
        on_reply: called with each reply, error replies as exceptions, and with what the server sends unasked
            (``hiredis.PushNotification``).
        on_lost: called once at the end, with the reason.
    """

    def __init__(self, connection: Any, on_reply: Callable[[Any], None], on_lost: Callable[[Exception], None]) -> None:
        self.lost = False
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._reader = hiredis.Reader(
            protocolError=exceptions.InvalidResponse, replyError=_reply_error, notEnoughData=_NOTHING
        )
        # redis-py has no name for them. Kept, because streams that nobody keeps close their connection.
        self._streams = connection._reader, connection._writer  # noqa: SLF001
        connection._reader = connection._writer = None  # noqa: SLF001
        self._transport: asyncio.Transport = self._streams[1].transport
        self._transport.set_protocol(self)

    @classmethod
    async def opened(
        cls, client: aio.Redis, on_reply: Callable[[Any], None], on_lost: Callable[[Exception], None]
    ) -> Wire:
        """A new connection. Raises ``redis.RedisError``, ``OSError``."""
        began = monotonic()
        while True:
            connection: Any = client.connection_pool.make_connection()
            tried_at = monotonic()
            try:
                await connection.connect()
            except exceptions.TimeoutError:
                now = monotonic()
                if now - tried_at <= CONNECT_TIMEOUT_S + GRACE_S or now - began > REPLY_TIMEOUT_S:
                    raise
                # the time-out came late: the loop stood still, and that says nothing about Redis
            else:
                return cls(connection, on_reply, on_lost)

    def send(self, commands: bytes) -> None:
        """Sends packed commands, now."""
        self._transport.write(commands)

    def data_received(self, data: bytes) -> None:
        """Of the protocol."""
        self._reader.feed(data)
        try:
            while not self.lost and (reply := self._reader.gets()) is not _NOTHING:
                self._on_reply(reply)
        except exceptions.InvalidResponse as exc:
            self.close(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        """Of the protocol."""
        self.close(exceptions.ConnectionError(f"the connection to Redis was lost: {exc or 'closed'}"))

    def close(self, why: Exception) -> None:
        """Ends the connection at once. Safe to repeat."""
        if not self.lost:
            self.lost = True
            self._transport.abort()
            self._on_lost(why)


_NOTHING = object()
_ERRORS = {
    "NOSCRIPT": exceptions.NoScriptError,
    "LOADING": exceptions.BusyLoadingError,
    "READONLY": exceptions.ReadOnlyError,
}


def _reply_error(text: str) -> RedisError:
    return _ERRORS.get(text.partition(" ")[0], exceptions.ResponseError)(text)


class _Command:
    """A command and whoever waits for its reply."""

    __slots__ = ("name", "packed", "reply")

    def __init__(self, name: str, command: bytes, reply: asyncio.Future[Any]) -> None:
        self.name = name
        self.packed = command
        self.reply = reply

    def fail(self, error: Exception) -> None:
        if not self.reply.done():  # else its caller was cancelled
            self.reply.set_exception(error)


class RedisLine:
    """One connection shared by all coroutines of a loop: commands of one tick travel in one round trip.

    While a round trip is under way, further commands gather for the next; at low load a command goes out at once. So
    the busier the process, the fewer times it and Redis wake each other.
    """

    def __init__(self, url: str) -> None:
        self._client = connect_async(url)
        self._shapes = self._client.response_callbacks
        """What redis-py makes of some commands' replies, by the command's name."""
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: deque[_Command] = deque()
        """What waits for its reply."""
        self._next: list[_Command] = []
        """What leaves with the next round trip."""
        self._leaving = False
        self._heard = 0.0
        self._doubtful = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def execute_command(self, *args: Any) -> Any:
        """The command's reply. Raises ``redis.RedisError`` (its own error reply, or Redis is out of reach)."""
        return await self.submit(*args)

    def submit(self, *args: Any) -> asyncio.Future[Any]:
        """Puts the command in line at once, so that commands keep the order of their calls, and returns its reply."""
        loop = asyncio.get_running_loop()
        command = _Command(args[0], packed(*args), loop.create_future())
        if self._closed:
            command.fail(exceptions.ConnectionError("closed"))
            return command.reply
        self._next.append(command)
        if self._wire is None:
            if self._connecting is None:
                self._connecting = loop.create_task(self._connect())
        elif not self._waiting:
            self._leave(loop)
        return command.reply

    async def _connect(self) -> None:
        try:
            self._wire = await Wire.opened(self._client, self._answered, self._lost)
        except Exception as exc:  # noqa: BLE001 whoever waits hears of it
            self._fail(self._next, exc)
        else:
            self._send()
        finally:
            self._connecting = None

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sends what there is at the end of this tick."""
        if not self._leaving:
            self._leaving = True
            loop.call_soon(self._send)

    def _send(self) -> None:
        self._leaving = False
        if self._wire is None or not self._next:
            return
        commands, self._next = self._next, []
        self._heard = asyncio.get_running_loop().time()
        if self._timer is None:
            self._look_in(REPLY_TIMEOUT_S)
        self._waiting.extend(commands)
        self._wire.send(b"".join([command.packed for command in commands]))

    def _answered(self, reply: Any) -> None:
        if type(reply) is hiredis.PushNotification:
            return  # the server's own news, which nobody asked for
        command = self._waiting.popleft()
        loop = command.reply.get_loop()
        self._heard, self._doubtful = loop.time(), False
        if isinstance(reply, Exception):
            command.fail(reply)
        elif not command.reply.done():
            shape = self._shapes.get(command.name)
            command.reply.set_result(reply if shape is None else shape(reply))
        if not self._waiting:
            self._leave(loop)  # with what those who have their replies now have to say next

    def _look_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """Whether Redis still answers. A loop that stood still itself gets a moment to read what has come meanwhile."""
        self._timer = None
        if not self._waiting or self._wire is None:
            return
        rest = self._heard + REPLY_TIMEOUT_S - asyncio.get_running_loop().time()
        if rest <= 0 and self._doubtful:
            self._wire.close(exceptions.TimeoutError("Redis does not answer"))
        else:
            self._doubtful = rest <= 0
            self._look_in(max(rest, GRACE_S))

    def _lost(self, why: Exception) -> None:
        """What was sent is not sent again, whatever became of it; what was not goes out over the next connection."""
        self._wire = None
        self._fail(self._waiting, why)
        if self._next and self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def _fail(self, commands: MutableSequence[_Command], why: Exception) -> None:
        failed = list(commands)
        commands.clear()
        for command in failed:
            command.fail(why)

    async def aclose(self) -> None:
        """Waits for what is under way and closes the connection. Commands that come later fail."""
        self._closed = True
        if self._connecting is not None:
            await self._connecting
        if under_way := [command.reply for command in (*self._waiting, *self._next)]:
            await asyncio.wait(under_way)
        if self._wire is not None:
            self._wire.close(exceptions.ConnectionError("closed"))
        if self._timer is not None:
            self._timer.cancel()
        await self._client.aclose()
