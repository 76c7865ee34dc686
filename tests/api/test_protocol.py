"""HTTP/1.1 at its edges: what could be read in two ways, what is too large, and what never arrives."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api import protocol
from api.server import KEEP_ALIVE_S
from tests.api.conftest import KEY, House, an_identity, bearer, body, until
from tests.api.test_relay import reading

pytestmark = pytest.mark.anyio

HEAD = "POST /api/v1/chat/completions HTTP/1.1\r\nHost: wonrouter.test\r\n"
SECOND = "GET /healthz HTTP/1.1\r\nHost: wonrouter.test\r\n\r\n"


class Line:
    """A connection by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, text: str | bytes) -> None:
        self.writer.write(text.encode("latin-1") if isinstance(text, str) else text)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """What comes until the server ends the connection."""
        return await asyncio.wait_for(self.reader.read(), 60)


@contextlib.asynccontextmanager
async def dialled(house: House) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
async def line(house: House) -> AsyncIterator[Line]:
    async with dialled(house) as made:
        yield made


async def answer_to(house: House, *said: str) -> tuple[int, dict[str, Any], bytes]:
    """Status, error and bytes of the one answer to what is said on a connection of its own."""
    async with dialled(house) as line:
        for piece in said:
            await line.say(piece)
        raw = await line.rest()
    return *refused(raw), raw


def refused(raw: bytes) -> tuple[int, dict[str, Any]]:
    """Status and error of the one answer."""
    assert raw.count(b"HTTP/1.1 ") == 1, raw
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"connection: close" in head and b"content-type: application/json" in head
    return int(head.split()[1]), json.loads(body)["error"]


TWO_READINGS = (
    "Content-Length: 4\r\nContent-Length: 40\r\n",
    "Content-Length: 4\r\nContent-Length: 4\r\n",
    "Content-Length: 4, 4\r\n",
    "Content-Length: +4\r\n",
    "Content-Length: -4\r\n",
    "Content-Length: 0x4\r\n",
    "Content-Length: 99999999999999999999999\r\n",
    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding:\x0bchunked\r\n",
    "X: 1\r\n folded: 2\r\n",
    "No colon\r\n",
    ": no name\r\n",
    "X: nul\x00\r\n",
    "X: 1\rContent-Length: 4\r\n",
    "X: 1\nContent-Length: 4\r\n",
)


async def test_what_a_proxy_could_read_otherwise_is_refused_and_nothing_behind_it_is_answered(house: House) -> None:
    for head in TWO_READINGS:
        status, said, raw = await answer_to(house, HEAD + head + "\r\n0\r\n\r\n" + SECOND)
        assert status in (400, 401), raw  # 401 where it was read to its end as one request without a key
        assert b"ok" not in raw and said["type"] in ("invalid_request_error", "invalid_api_key"), head


async def test_chunks_that_are_none_end_the_connection(house: House) -> None:
    head = HEAD + f"X-API-Key: {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n"
    for chunk in ("5;" + "x" * 70_000 + "\r\n", "FFFFFFFFFFFFFFFFF\r\n", "-1\r\n", "5\nhello\n", "zz\r\n"):
        status, _, _ = await answer_to(house, head + chunk + "0\r\n\r\n" + SECOND)
        assert status == 400, chunk


async def test_another_protocol_is_told_so(house: House) -> None:
    for first in (
        "GET / HTTP/9.9", "PRI * HTTP/2.0", "CONNECT x:443 HTTP/1.1", "\x16\x03\x01", "GET /\xff HTTP/1.1",
    ):  # fmt: skip
        status, _, _ = await answer_to(house, first + "\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert status in (400, 404, 405), first


async def test_a_head_too_large_is_refused(house: House) -> None:
    for head in (
        "".join(f"X-{at}: y\r\n" for at in range(protocol.MOST_HEADERS + 1)),
        "X: " + "y" * protocol.MOST_HEAD_BYTES,
    ):
        status, said, _ = await answer_to(house, HEAD + head + "\r\n\r\n")
        assert (status, said["code"]) == (431, "headers_too_large")


async def test_a_header_that_never_ends_is_refused_before_it_is_one(line: Line) -> None:
    await line.say(HEAD + "Cookie: ")
    for _ in range(protocol.MOST_HEAD_BYTES // 16_384 + 1):  # httptools would keep on collecting them
        await line.say("y" * 16_384)
    assert refused(await line.rest())[0] == 431


async def test_who_is_refused_in_the_middle_may_go_on_sending_and_still_gets_the_answer(house: House) -> None:
    large = 64 * 1024 * 1024
    for head, status in (
        ("X: " + "y" * protocol.MOST_HEAD_BYTES, 431),
        ("Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (f"Connection: close\r\nContent-Length: {large}\r\n\r\n", 413),
    ):
        async with dialled(house) as line:
            await line.say(HEAD + f"X-API-Key: {KEY}\r\n" + head)
            for _ in range(large // 8 // 131_072):  # far more than lies in the sockets between us
                await line.say("y" * 131_072)
            assert refused(await line.rest())[0] == status
    await until(lambda: not house.server.server_state.tasks, "all handlers ended")


async def test_a_target_too_long_is_refused(line: Line) -> None:
    await line.say("GET /" + "a" * protocol.MOST_HEAD_BYTES + " HTTP/1.1\r\nHost: x\r\n\r\n")
    assert refused(await line.rest())[0] == 431


async def test_a_hundred_headers_and_a_head_in_pieces_are_fine(line: Line) -> None:
    head = "".join(f"X-{at}: y\r\n" for at in range(protocol.MOST_HEADERS - 2))
    for piece in ("GET /heal", "thz HTTP/1.1\r\nHo", "st: x\r\n" + head, "Connection: close\r\n\r\n"):
        await line.say(piece)
        await asyncio.sleep(0)
    assert (await line.rest()).endswith(b'{"status":"ok"}')


class TestSlowly:
    """Nobody holds a connection by promising a request. The clock is moved, not waited for."""

    async def test_a_head_that_does_not_end(self, house: House, line: Line, clock: Clock) -> None:
        await line.say(HEAD + "X: ")
        await self.arrived(house, "head")
        clock.ahead = protocol.HEAD_S - 1
        await clock.swept(house)
        assert not line.reader.at_eof()
        clock.ahead = protocol.HEAD_S + 1
        status, said = refused(await line.rest())
        assert (status, said["code"]) == (408, "request_timeout")

    async def test_a_body_that_does_not_come(self, house: House, line: Line, clock: Clock) -> None:
        await line.say(HEAD + f"X-API-Key: {KEY}\r\nContent-Length: 1000\r\n\r\n" + "{")
        await self.arrived(house, "body")
        clock.ahead = protocol.BODY_S + 1
        assert refused(await line.rest())[0] == 408
        await until(lambda: not house.server.server_state.tasks, "its handler ended")

    async def test_who_is_refused_and_does_not_leave(self, house: House, line: Line, clock: Clock) -> None:
        await line.say(HEAD + f"X-API-Key: {KEY}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        await self.arrived(house, "over")
        await until(lambda: not house.server.server_state.tasks, "its handler ended")
        clock.ahead = protocol.LINGER_S - 1
        await clock.swept(house)
        assert house.server.server_state.connections
        clock.ahead = protocol.LINGER_S + 1
        await until(lambda: not house.server.server_state.connections, "its connection ended")
        assert refused(await line.rest())[0] == 400

    async def test_a_large_body_has_the_time_it_needs(self, house: House, line: Line, clock: Clock) -> None:
        size = protocol.BODY_BYTES_PER_S * 40
        await line.say(HEAD + f"X-API-Key: {KEY}\r\nContent-Length: {size + 1}\r\n\r\n" + "x" * size)
        await self.arrived(house, "body", size)
        clock.ahead = protocol.BODY_S + 30
        await clock.swept(house)
        await line.say("x")
        status = int((await line.reader.readuntil(b"\r\n")).split()[1])
        assert status == 400

    async def test_a_body_that_goes_on_after_its_answer(self, house: House, line: Line, clock: Clock) -> None:
        await line.say(HEAD + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        assert b"401" in await line.reader.readuntil(b"\r\n")
        await self.arrived(house, "body")
        clock.ahead = protocol.BODY_S + 1
        await line.rest()

    @pytest.mark.parametrize("said", ["", "\r\n"])
    async def test_a_connection_on_which_nothing_is_asked_ends_without_a_word(
        self, house: House, clock: Clock, said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, heard = protocol.Protocol.data_received, bytearray()

        def hear(connection: protocol.Protocol, data: bytes) -> None:
            real(connection, data)
            heard.extend(data)

        monkeypatch.setattr(protocol.Protocol, "data_received", hear)
        async with dialled(house) as line:
            await line.say(said)
            await until(lambda: heard == said.encode(), "heard")
            await self.arrived(house, "idle")
            clock.ahead = KEEP_ALIVE_S + 1
            assert await line.rest() == b""

    async def test_empty_lines_do_not_hold_a_connection_that_was_answered(
        self, house: House, line: Line, clock: Clock
    ) -> None:
        await line.say(SECOND)
        await line.reader.readuntil(b'"ok"}')
        await line.say("\r\n")
        await self.arrived(house, "idle")
        clock.ahead = KEEP_ALIVE_S + 1
        assert await line.rest() == b""

    async def test_an_answer_under_way_is_left_alone(self, house: House, clock: Clock) -> None:
        async with reading(house) as client:
            taken = await house.worker.take()
            await taken.say("a")
            await until(lambda: client.data, "begun")
            clock.ahead = 10_000
            await clock.swept(house)
            await taken.say("b")
            await taken.end()
            assert (await client.whole()).endswith(b"data: [DONE]\n\n")

    @staticmethod
    async def arrived(house: House, part: str, size: int = 0) -> None:
        def there() -> bool:
            connections: Any = house.server.server_state.connections
            return any(one._part == part and one._came >= size for one in connections)

        await until(there, part)


class Clock:
    """Makes the sweep believe that more time has passed, and looks more often."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.sweeps = 0

    async def swept(self, house: House) -> None:
        seen = self.sweeps
        await until(lambda: self.sweeps > seen + 1, "swept")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    real = protocol.end_overdue

    def later(connections: Any, now: float) -> None:
        made.sweeps += 1
        real(connections, now + made.ahead)

    monkeypatch.setattr("api.server.end_overdue", later)
    monkeypatch.setattr("api.server.SWEEP_TICKS", 1)
    return made


ODD_VALUES = ("\xff\xfe", "a" * 8_000, "a\tb", "%0d%0aSet-Cookie: x=y", "=;=;,,\"'<script>")


NAMES = ("X-Title", "Idempotency-Key", "Accept", "Host", "Origin", "Cookie", "X-Request-Id", "Content-Type")


async def test_a_connection_that_ended_leaves_nothing_to_the_collector(house: House) -> None:
    """It comes by rarely: with a connection for each call, kilobytes would gather for thousands of calls."""

    def connections() -> int:
        return sum(type(one) is protocol.Protocol for one in gc.get_objects())

    async def called() -> bool:
        async with dialled(house) as line:
            await line.say(call(json.dumps(body()).encode()))
            await (await house.worker.take()).end()
            return (await line.reader.readline()).startswith(b"HTTP/1.1 200")

    assert await called()
    gc.collect()
    gc.disable()
    try:
        before = connections()
        assert await called() and await called()
        assert await until(lambda: connections() <= before, "gone")
    finally:
        gc.enable()


async def test_no_header_of_a_caller_breaks_an_answer(house: House) -> None:
    for name, value in itertools.product(NAMES, ODD_VALUES):
        answer = await house.client.get(
            "/api/v1/models", headers=[*bearer(KEY).items(), (name, value.encode("latin-1"))]
        )
        assert answer.status_code == 200 or (name, answer.status_code) == ("Host", 400), (value, answer.text)
        assert "set-cookie" not in answer.headers


class TestTheDoor:
    """While an organisation's calls are refused, they are so at their heads: no task, no application, no reading."""

    @pytest.fixture
    async def shut(self, house: House, monkeypatch: pytest.MonkeyPatch) -> House:
        identity = house.book.put(KEY, an_identity())
        await house.open_window(identity)
        async with dialled(house) as line:  # its key is known from now on
            await line.say(call(b"{}"))
            assert (await answered(line))[0] == 400
        monkeypatch.setattr("api.pressure.CLOSED_S", 600.0)
        house.parts.pressure.close(identity.org_id, 2.0)
        return house

    async def test_calls_are_refused_and_the_connection_goes_on(
        self, shut: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.observed.Observed.__call__", None)  # nothing of a refused call gets that far
        async with dialled(shut) as line:
            for size in (2, 300_000):
                await line.say(call(b"x" * size))
                status, head, body = await answered(line)
                assert (status, json.loads(body)["error"]["type"]) == (503, "service_unavailable")
                assert 2 <= int(head["retry-after"]) <= 3
                assert head["x-request-id"] and head["date"]
                assert (head["cache-control"], head["x-content-type-options"]) == ("no-store", "nosniff")

    async def test_the_next_request_of_the_connection_is_answered(self, shut: House) -> None:
        async with dialled(shut) as line:
            await line.say(call(b"{}"))
            assert (await answered(line))[0] == 503
            await line.say(SECOND)
            assert (await answered(line))[0] == 200

    async def test_others_and_other_paths_are_let_in(self, shut: House) -> None:
        async with dialled(shut) as line:
            await line.say(call(b"{}", key=KEY[:-1] + "0"))
            assert (await answered(line))[0] == 401
            await line.say(f"GET /api/v1/models HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n")
            assert (await answered(line))[0] == 200

    async def test_who_asks_for_the_end_of_the_connection_gets_it(self, shut: House) -> None:
        async with dialled(shut) as line:
            await line.say(call(b"{}", "Connection: close\r\n"))
            status, error = refused(await line.rest())
            assert (status, error["type"]) == (503, "service_unavailable")

    async def test_a_process_that_is_about_to_end_ends_the_connection_with_the_refusal(self, shut: House) -> None:
        shut.parts.draining = True
        async with dialled(shut) as line:
            await line.say(call(b"{}") + SECOND.encode())
            assert refused(await line.rest())[0] == 503

    async def test_calls_that_come_behind_one_under_way_are_refused_in_their_turn(self, shut: House) -> None:
        async with dialled(shut) as line:
            await line.say(SECOND.encode() + call(b"{}") + SECOND.encode())
            assert [(await answered(line))[0] for _ in range(3)] == [200, 503, 200]


def call(body: bytes, more: str = "", key: str = KEY) -> bytes:
    """A call with this body."""
    return f"{HEAD}X-API-Key: {key}\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def answered(line: Line) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer on a connection."""
    async with asyncio.timeout(60):
        head = (await line.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (row.partition(": ") for row in head[1:-2])}
        return int(head[0].split()[1]), headers, await line.reader.readexactly(int(headers["content-length"]))
