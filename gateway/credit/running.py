"""The worker's side of a hold: claim, renew with checkpoints, extend, finish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from gateway.credit import scripts
from gateway.credit.scripts import AsyncExecutor
from gateway.wire import keys
from gateway.wire.job import CALL_MESSAGE

MOST_EPOCHS = 3
"""A job that was claimed this often and never ended kills its workers: it is ended instead of claimed again."""


class Claim(msgspec.Struct):
    """A job taken by this worker. ``attempts`` are those of workers that lost the job. ``body`` is sealed; whoever opens it
    takes it out: a prompt may be megabytes, and an answer take minutes.

    ``background``: taken as one of those for which ``take`` was told how many there may be.
    """

    job: str
    epoch: int
    cap: int
    hold_micro: int
    body: bytes
    reply: str
    now_ms: int
    attempts: bytes
    base_event: bytes
    background: bool = False


class NotClaimed(msgspec.Struct, frozen=True):
    """``gone``: ended or cancelled. ``leased``: another worker runs it. ``spent``: claimed too often, ended now.
    ``behind``: no job's, but that background jobs wait which this worker may not have now."""

    reason: Literal["gone", "leased", "spent", "behind"]
    job: str
    reply: str = ""
    epoch: int = 0


class Heartbeat(msgspec.Struct, frozen=True):
    """One job's renewal. ``checkpoint`` is the usage event so far (empty: as before), ``micro`` its charge."""

    job: str
    epoch: int
    checkpoint: bytes = b""
    micro: int = 0
    attempts: bytes = b""


LOST, RENEWED, CANCELLED, DISOWNED = 0, 1, 2, 3


async def claim(redis: AsyncExecutor, job: str, worker: str, lease_ms: int) -> Claim | NotClaimed:
    """Takes the job, or says why not. The claim, not the message, decides who runs it."""
    [answer] = await _claim(redis, worker, lease_ms, 0, 0, [job])
    return answer


async def take(
    redis: AsyncExecutor, worker: str, lease_ms: int, places: int, background: int, *, listening: bool = False
) -> list[Claim | NotClaimed]:
    """Takes up to ``places`` of the waiting jobs, each organisation in turn; calls another worker if more are left.

    ``background``: how many of them may be of the background; where more wait, the last answer is ``behind``.
    ``listening``: the worker hears ``Control("take")`` on its channel, and may be called by it for the next second.
    What is not claimed among them was ended here: claimed too often (``spent``).
    """
    return await _claim(redis, worker, lease_ms, places, background, [], listening)


async def pass_on(redis: AsyncExecutor, worker: str) -> None:
    """Calls another worker where jobs wait; this one is not called again until it takes jobs."""
    await scripts.PASS_ON.run(redis, [], [worker, keys.CALL_QUEUE, CALL_MESSAGE])


async def _claim(
    redis: AsyncExecutor,
    worker: str,
    lease_ms: int,
    places: int,
    background: int,
    named: list[str],
    listening: bool = False,
) -> list[Claim | NotClaimed]:
    args = [worker, lease_ms, MOST_EPOCHS, places, keys.CALL_QUEUE, CALL_MESSAGE, int(listening), background, *named]
    return [_claimed(answer) for answer in await scripts.CLAIM.run(redis, [], args)]


def _claimed(answer: list[Any]) -> Claim | NotClaimed:
    job = answer[1].decode()
    if answer[0] == b"ok":
        return Claim(
            job=job,
            epoch=int(answer[2]),
            cap=int(answer[3]),
            hold_micro=int(answer[4]),
            body=answer[5],
            reply=answer[6].decode(),
            now_ms=int(answer[7]),
            attempts=answer[8],
            base_event=answer[9],
            background=answer[10] == 1,
        )
    if answer[0] == b"spent":
        return NotClaimed("spent", job, answer[2].decode(), int(answer[3]))
    return NotClaimed(answer[0].decode(), job)


async def renew(redis: AsyncExecutor, beats: Sequence[Heartbeat], lease_ms: int) -> list[int]:
    """Renews many leases in one call. Returns ``LOST``, ``RENEWED``, ``CANCELLED`` or ``DISOWNED`` (cancelled,
    and nothing is charged) per job, in order."""
    if not beats:
        return []
    args: list[scripts.Arg] = [lease_ms]
    for beat in beats:
        args += [beat.job, beat.epoch, beat.checkpoint, beat.micro, beat.attempts]
    return [int(n) for n in await scripts.RENEW.run(redis, [], args)]


class HoldUnknown(Exception):
    """The window does not know the hold now: it is being rebuilt, or the job is not this worker's any more."""


async def extend(redis: AsyncExecutor, job: str, epoch: int, tokens: int) -> int | None:
    """Asks for ``tokens`` more output. Returns the new cap, or None where no credit is left. Raises ``HoldUnknown``."""
    answer: list[Any] = await scripts.EXTEND.run(redis, [], [job, epoch, tokens])
    if answer[0] == b"lost":
        raise HoldUnknown(job)
    return int(answer[1]) if answer[0] == b"ok" else None


class Ending(msgspec.Struct, frozen=True):
    """How a job ends. ``frame`` is published on ``reply``; ``kept`` (sealed) stays readable for ``kept_ttl_s``."""

    job: str
    epoch: int
    org: str
    key: str
    outcome: Literal["posted", "voided"]
    micro: int
    event: bytes
    reply: str
    frame: bytes
    kept: bytes
    kept_ttl_s: int


async def finish(redis: AsyncExecutor, end: Ending) -> tuple[Literal["ok", "stale", "nohold", "disowned"], int]:
    """Appends the usage event, ends the hold, frees the slot and publishes the last frame, in one step.

    Returns the verdict and how many listened. ``stale``: another attempt holds the job, nothing was written.
    ``disowned``: the job is not to be charged, nothing was written; it ends with an end that charges nothing.
    """
    answer: list[Any] = await scripts.FINISH.run(
        redis,
        [],
        [
            end.job, end.epoch, end.outcome, end.micro, end.event, end.reply, end.frame, end.kept, end.kept_ttl_s,
            end.org, end.key,
        ],
    )  # fmt: skip  # the order is the script's
    return answer[0].decode(), int(answer[1])
