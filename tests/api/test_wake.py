"""What the writer of an answer waits for."""

from __future__ import annotations

import asyncio

import pytest

from api.reply import Wake

pytestmark = pytest.mark.anyio


async def test_what_was_set_before_is_not_missed_and_counts_once() -> None:
    wake = Wake()
    wake.set()
    wake.set()
    await wake.wait()
    again = asyncio.create_task(wake.wait())
    await asyncio.sleep(0)
    assert not again.done()
    wake.set()
    await again


async def test_who_is_cancelled_leaves_it_to_the_next() -> None:
    wake = Wake()
    first = asyncio.create_task(wake.wait())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(wake.wait())
    await asyncio.sleep(0)
    assert not second.done()
    wake.set()
    wake.set()  # before the one who waits has run
    await second
    third = asyncio.create_task(wake.wait())
    await asyncio.sleep(0)
    assert not third.done()
    third.cancel()
