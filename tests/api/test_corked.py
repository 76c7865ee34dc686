"""A connection's writes: those of one tick leave together, and none waits longer."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from api.corked import CORKED_BYTES, Corked

pytestmark = pytest.mark.anyio


class _Sent:
    """A transport that notes what is sent."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def write_eof(self) -> None:
        self.writes.append(b"<end>")

    def close(self) -> None:
        self.closed = True


def corked(sent: _Sent, *, linger: bool = False) -> Any:
    return Corked(cast("asyncio.Transport", sent), asyncio.get_running_loop(), lambda: linger)


async def test_writes_of_one_tick_leave_together() -> None:
    sent = _Sent()
    transport = corked(sent)
    transport.write(b"head, ")
    transport.write(b"body")
    assert sent.writes == []
    await asyncio.sleep(0)
    transport.write(b"more")
    await asyncio.sleep(0)
    assert sent.writes == [b"head, body", b"more"]


async def test_much_leaves_at_once_so_that_a_slow_client_is_noticed() -> None:
    sent = _Sent()
    transport = corked(sent)
    transport.write(b"a")
    transport.write(b"b" * CORKED_BYTES)
    assert sent.writes == [b"a" + b"b" * CORKED_BYTES]
    await asyncio.sleep(0)
    assert len(sent.writes) == 1


async def test_what_was_written_goes_out_before_the_connection_is_closed_and_nothing_after() -> None:
    sent = _Sent()
    transport = corked(sent)
    transport.write(b"last words")
    transport.close()
    transport.write(b"too late")
    await asyncio.sleep(0)
    assert (sent.writes, sent.closed) == ([b"last words"], True)


async def test_where_the_client_still_sends_only_our_side_is_closed() -> None:
    sent = _Sent()
    transport = corked(sent, linger=True)
    transport.write(b"refused")
    assert not transport.is_closing()
    transport.close()
    assert (sent.writes, sent.closed, transport.is_closing()) == ([b"refused", b"<end>"], False, True)


@pytest.mark.parametrize("lost", [False, True])
async def test_else_the_connection_is_closed(lost: bool) -> None:
    sent = _Sent()
    transport = corked(sent, linger=lost)
    if lost:
        transport.lost()
    transport.close()
    assert (sent.writes, sent.closed, transport.is_closing()) == ([], True, True)
