"""The race for the first token, where several end in the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, cast
from unittest.mock import MagicMock

import pytest

from workers.opening import Opening, Spoken
from workers.providers.base import ProviderFailure
from workers.transport import UpstreamFailed

pytestmark = pytest.mark.anyio

FAILURE = ProviderFailure(kind="server", status=500)


async def speaks(attempt: MagicMock) -> Spoken:
    return Spoken(attempt, [])


async def fails() -> Spoken:
    raise UpstreamFailed(FAILURE)


async def ended(opening: Opening, running: Sequence[tuple[Awaitable[Spoken], MagicMock]]) -> None:
    """All of them have ended before the race is looked at."""
    tasks = {asyncio.ensure_future(coming): attempt for coming, attempt in running}
    await asyncio.wait(tasks)
    cast("Any", opening)._running = tasks


@pytest.fixture
async def opening() -> Opening:
    return Opening(MagicMock(), MagicMock(), MagicMock(), MagicMock())


async def test_who_failed_as_another_spoke_is_recorded_as_failed_and_nobody_else_is_asked(opening: Opening) -> None:
    bad, good = MagicMock(), MagicMock()
    for order in ([(fails(), bad), (speaks(good), good)], [(speaks(good), good), (fails(), bad)]):
        bad.reset_mock()
        await ended(opening, order)
        spoken = await cast("Any", opening)._round()
        assert spoken.attempt is good
        bad.failed.assert_called_once_with(FAILURE)
        assert cast("Any", opening)._running == {}
    cast("Any", opening)._plan.after.assert_not_called()


async def test_of_two_that_spoke_at_once_one_is_slower_and_closed(opening: Opening) -> None:
    first, second = MagicMock(), MagicMock()
    await ended(opening, [(speaks(first), first), (speaks(second), second)])
    spoken = await cast("Any", opening)._round()
    ((_, left),) = cast("Any", opening)._running.items()
    assert {id(spoken.attempt), id(left)} == {id(first), id(second)}
