"""An admission whose reply is lost with the connection: its client gets the answer, or nobody is charged."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError as LostConnection

from api import unheard
from api.unheard import Unheard
from gateway.wire import keys

pytestmark = pytest.mark.anyio
DIGITS = ("abc", "8123456789abcdef")
JOB = "0123456789ab7" + "".join(DIGITS)
OTHER = "0123456789ab7" + "fff" + DIGITS[1]


class _Redis:
    """Answers with the open jobs, or is away."""

    def __init__(self, jobs: list[str], kept: list[str] | None = None, *, away: bool = False) -> None:
        self.jobs, self.kept, self.away = jobs, kept or [], away

    async def execute_command(self, *args: Any) -> Any:
        if self.away:
            raise LostConnection("away")
        if args[0] == "ZRANGE":
            return [job.encode() for job in self.jobs]
        return [b"0", [keys.kept(job).encode() for job in self.kept]]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unheard, "PAUSE_S", 0.01)
    monkeypatch.setattr(unheard, "PATIENCE_S", 60.0)


@pytest.mark.parametrize("found", [_Redis([OTHER, JOB]), _Redis([OTHER], [JOB])], ids=["open", "ended"])
async def test_a_job_that_redis_knows_is_found(found: _Redis) -> None:
    lost = Unheard(found)
    assert await lost.find(DIGITS) == JOB
    assert not lost.disowned(JOB)


async def test_a_job_is_found_by_its_first_frame_while_redis_is_away() -> None:
    lost = Unheard(_Redis([], away=True))
    finding = asyncio.create_task(lost.find(DIGITS))
    await asyncio.sleep(0)
    lost.heard(OTHER)
    lost.heard(JOB)
    assert await finding == JOB


@pytest.mark.parametrize("away", [False, True])
async def test_a_job_that_is_not_found_is_disowned(away: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if away:
        monkeypatch.setattr(unheard, "PATIENCE_S", 0.1)
    lost = Unheard(_Redis([OTHER], away=away))
    assert await lost.find(DIGITS) is None
    assert lost.disowned(JOB)
    assert not lost.disowned(OTHER)
