"""A thousand clients who connect while the loop is busy are not served one in each tick."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from api.accepting import Accepting

pytestmark = pytest.mark.anyio

CLIENTS = 320


@pytest.fixture
def made() -> list[asyncio.BaseTransport]:
    return []


@pytest.fixture
def protocol(made: list[asyncio.BaseTransport]) -> type[asyncio.Protocol]:
    class Counted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    return Counted


async def ticks(made: list[asyncio.BaseTransport], wanted: int) -> int:
    """How many ticks of the loop it takes until so many connections are made."""
    for tick in range(2 * CLIENTS):
        if len(made) >= wanted:
            return tick
        await asyncio.sleep(0)
    raise AssertionError(f"{len(made)} of {wanted} connections were made")


async def test_all_who_have_come_are_accepted_in_a_few_ticks(
    made: list[asyncio.BaseTransport], protocol: type[asyncio.Protocol]
) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=CLIENTS)
    accepting = Accepting(server.sockets, protocol)
    with contextlib.ExitStack() as stack:
        for _ in range(CLIENTS):  # nothing of the loop runs meanwhile
            stack.enter_context(socket.create_connection(server.sockets[0].getsockname()[:2]))
        assert await ticks(made, CLIENTS) <= CLIENTS // 16
        accepting.stop()
        accepting.stop()
        stack.enter_context(socket.create_connection(server.sockets[0].getsockname()[:2]))
        await ticks(made, CLIENTS + 1)  # the server still accepts
        for transport in made:
            transport.close()
        server.close()
        await server.wait_closed()
