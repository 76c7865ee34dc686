"""The shared line to Redis: order, errors, connections that break or fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from redis import exceptions

import gateway.redis
from gateway.redis import RedisLine

pytestmark = pytest.mark.anyio


@pytest.fixture
async def line(redis_url: str) -> AsyncIterator[RedisLine]:
    made = RedisLine(redis_url)
    yield made
    await made.aclose()


async def test_commands_keep_the_order_of_their_calls_also_while_the_line_connects(line: RedisLine) -> None:
    futures = [line.submit("RPUSH", "line:order", number) for number in range(100)]
    assert await asyncio.gather(*futures) == list(range(1, 101))
    assert await line.execute_command("LRANGE", "line:order", 0, -1) == [b"%d" % number for number in range(100)]


async def test_replies_have_the_shapes_of_redis_py(line: RedisLine) -> None:
    await line.execute_command("XADD", "line:stream", "1-1", "a", "b")
    assert await line.execute_command("XRANGE", "line:stream", "-", "+") == [(b"1-1", {b"a": b"b"})]
    seconds, micro = await line.execute_command("TIME")
    assert isinstance(seconds, int) and isinstance(micro, int)


async def test_an_error_reply_is_its_callers_alone(line: RedisLine) -> None:
    wrong = line.submit("EVALSHA", "0" * 40, 0)
    right = line.submit("ECHO", "after")
    with pytest.raises(exceptions.NoScriptError):
        await wrong
    assert await right == b"after"
    with pytest.raises(exceptions.ResponseError):
        await line.execute_command("NOSUCHCOMMAND")


async def test_a_caller_that_was_cancelled_leaves_the_others_their_own_replies(line: RedisLine) -> None:
    futures = [line.submit("ECHO", str(number)) for number in range(3)]
    futures[1].cancel()
    assert (await futures[0], await futures[2]) == (b"0", b"2")


async def test_a_lost_connection_fails_what_was_under_way_and_the_next_command_connects_again(
    line: RedisLine, redis_url: str
) -> None:
    await line.execute_command("PING")
    me = await line.execute_command("CLIENT", "ID")
    blocked = line.submit("BLPOP", "line:nothing", 0)
    killer = RedisLine(redis_url)
    await killer.execute_command("CLIENT", "KILL", "ID", me)
    with pytest.raises(exceptions.ConnectionError):
        await blocked
    assert await line.execute_command("ECHO", "again") == b"again"
    await killer.aclose()


async def test_without_redis_every_caller_is_told() -> None:
    line = RedisLine("redis://127.0.0.1:1/0")
    told = await asyncio.gather(line.submit("PING"), line.submit("PING"), return_exceptions=True)
    assert all(isinstance(error, exceptions.ConnectionError) for error in told)
    await line.aclose()


@pytest.mark.parametrize(("came_after_s", "tries", "outage"), [(3.0, 1, False), (3.0, 9, True), (2.0, 1, True)])
async def test_a_time_out_that_came_late_while_the_line_connects_is_no_outage(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, came_after_s: float, tries: int, outage: bool
) -> None:
    """The loop stood still then. Time is moved, not waited for."""
    now, real, left = [0.0], redis.asyncio.Connection.connect, [tries]

    async def connect(connection: redis.asyncio.Connection) -> None:
        if left[0] > 0:
            left[0] -= 1
            now[0] += came_after_s
            raise exceptions.TimeoutError("Timeout connecting to server")
        await real(connection)

    monkeypatch.setattr(gateway.redis, "monotonic", lambda: now[0])
    monkeypatch.setattr(redis.asyncio.Connection, "connect", connect)
    line = RedisLine(redis_url)
    [said] = await asyncio.gather(line.submit("ECHO", "late"), return_exceptions=True)
    assert isinstance(said, exceptions.TimeoutError) if outage else said == b"late"
    await line.aclose()


async def test_a_redis_that_falls_silent_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.redis, "REPLY_TIMEOUT_S", 0.05)
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            if b"ECHO" not in data:
                writer.write(b"+OK\r\n" * data.count(b"*"))
        writer.close()
        left.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    line = RedisLine(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0?protocol=2")
    with pytest.raises(exceptions.TimeoutError):
        await line.execute_command("ECHO", "anybody there?")
    await left.wait()
    await line.aclose()
    server.close()


async def test_closing_waits_for_what_is_under_way(redis_url: str) -> None:
    line = RedisLine(redis_url)
    waiting = [line.submit("ECHO", "a"), line.submit("ECHO", "b")]
    await line.aclose()
    assert [future.result() for future in waiting] == [b"a", b"b"]


async def test_a_closed_line_connects_no_more(redis_url: str) -> None:
    line = RedisLine(redis_url)
    await line.execute_command("PING")
    await line.aclose()
    with pytest.raises(exceptions.ConnectionError, match="closed"):
        await line.execute_command("PING")
