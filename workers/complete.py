"""The path of a job: claim, attempts, frames, usage event, end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import structlog
from redis.exceptions import RedisError

from gateway import tracing
from gateway.credit import running
from gateway.seal import Unsealable
from gateway.wire import ids, keys
from gateway.wire.event import Tokens, encode_event
from gateway.wire.frame import FINAL, KEPT, MAX_PUBLISHED_BYTES, Final, Frame, encode_final, encode_frames
from gateway.wire.job import decode_job
from workers import faults, metrics
from workers.call import Call
from workers.delivery import answer
from workers.ended import Ended
from workers.metering import NOTHING
from workers.room import Room

log = structlog.get_logger("workers.complete")
T = TypeVar("T")

CLAIM_AGAIN_S = (0.0, 0.2, 0.5)
"""Waits after claims that found no Redis; then the job is left to its relay, which publishes it again after 2 s."""
END_RETRY_S = 0.25
"""Between attempts to write a job's end while Redis is away: the usage event must not be lost."""
END_PATIENCE_S = 600.0
"""After this the end is given up with an alarm: the hold has long expired with its checkpoint."""
DISOWNED = Ended("cancelled", None, error="admission_unheard", free=True)
"""The client was told that its call failed, or does not know of it: whatever was used is not charged."""


async def complete(room: Room, job_id: str) -> None:
    """Runs the job if it can be claimed. Raises nothing: whatever happens, the job has an end."""
    lease_ms = int(room.settings.lease_s * 1000)
    claimed = await _patiently(lambda: running.claim(room.redis, job_id, room.worker, lease_ms))
    if isinstance(claimed, running.Claim):
        await carry_out(room, claimed)
    elif claimed is not None:
        _not_claimed(room, claimed)


async def take(room: Room, places: int, background: int, *, listening: bool) -> tuple[list[running.Claim], bool]:
    """Claims up to ``places`` of the jobs that wait. Raises nothing; none where Redis stays away.

    ``background``: how many of them may be of the background. ``listening``: this worker may be called on its own
    channel for the next ones. Also returns whether jobs of the background were left for want of such places.
    """
    lease_ms = int(room.settings.lease_s * 1000)
    taken = await _patiently(
        lambda: running.take(room.redis, room.worker, lease_ms, places, background, listening=listening)
    )
    claims: list[running.Claim] = []
    behind = False
    for claimed in taken or []:
        if isinstance(claimed, running.Claim):
            claims.append(claimed)
        elif claimed.reason == "behind":
            behind = True
        else:
            _not_claimed(room, claimed)
    return claims, behind


async def carry_out(room: Room, claimed: running.Claim) -> None:
    """Runs a claimed job to its end. Raises nothing."""
    try:
        call = _opened(room, claimed)
    except (Unsealable, msgspec.DecodeError):
        log.exception("job_unreadable", job=claimed.job)
        await _end_unreadable(room, claimed)
        return
    if call.epoch == 1:
        metrics.QUEUE_SECONDS.observe(max(0, claimed.now_ms - ids.milliseconds(call.id)) / 1000)
    call.task = asyncio.current_task()
    if call.job.trace is not None and tracing.on():
        _begin_span(call)
    room.leases.add(call)
    try:
        await _run(room, call)
    finally:
        tracing.end(call.span)  # for a job that another worker took over
        room.leases.remove(call)
        room.publisher.ended(call.id)


def _opened(room: Room, claimed: running.Claim) -> Call:
    """The call. Raises ``Unsealable``, ``msgspec.DecodeError``."""
    sealed, claimed.body = claimed.body, b""
    return Call(claimed, decode_job(room.sealer.open(sealed, ids.place_of(claimed.job))))


async def _patiently(claim: Callable[[], Awaitable[T]]) -> T | None:
    """Claims again where Redis fails: the first command after it was away finds a dead connection. None: it stays away.

    A claim whose reply was lost makes the next one see our own lease; the job is then published again by its relay.
    """
    for wait_s in CLAIM_AGAIN_S:
        try:
            return await claim()
        except (RedisError, OSError) as error:
            log.warning("claim_failed", error=str(error))
            await asyncio.sleep(wait_s)
    return None


async def _run(room: Room, call: Call) -> None:
    try:
        ended = await answer(room, call)
    except asyncio.CancelledError:
        if call.stop_reason is None:
            raise
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
        ended = _stopped(call)
    except Exception:
        log.exception("call_broke", job=call.id)
        ended = Ended("failed", faults.internal(), error="internal_error", free=call.delivered == 0)
    if call.stop_reason == "lost":
        room.publisher.forget(call.id)
        return
    call.ending = True
    await _finish(room, call, ended)


def _begin_span(call: Call) -> None:
    """The job's span, and before it the time in which it waited for a worker."""
    parent, now_ms = call.job.trace, call.now_ms()
    if call.epoch == 1:
        waited = tracing.start("queue", parent=parent, start_ms=ids.milliseconds(call.id))
        tracing.end(waited, end_ms=now_ms)
    attributes: dict[str, tracing.Value] = {
        "wonrouter.job": call.id,
        "wonrouter.epoch": call.epoch,
        "wonrouter.surface": call.job.surface,
        "wonrouter.stream": call.job.stream,
    }
    call.span = tracing.start("job", "consumer", parent=parent, attributes=attributes)


def _end_span(call: Call, ended: Ended, tokens: Tokens) -> None:
    told: dict[str, tracing.Value] = {
        "wonrouter.outcome": ended.outcome,
        "gen_ai.usage.input_tokens": tokens.prompt,
        "gen_ai.usage.output_tokens": tokens.completion,
    }
    tracing.end(call.span, told, error=ended.error or "")
    call.span = None


def _stopped(call: Call) -> Ended:
    charged = call.delivered > 0
    if call.stop_reason == "shutdown":
        return Ended("failed", faults.shutting_down(charged), error="worker_stopped")
    if call.stop_reason == "disowned":
        return DISOWNED
    if call.stop_reason == "nobody":
        metrics.NOBODY.inc()
    return Ended("cancelled", None, error="nobody_listened" if call.stop_reason == "nobody" else None)


async def _finish(room: Room, call: Call, ended: Ended) -> None:
    """Writes the end: event, hold, slot and last frame in one step, as often as it takes."""
    tokens, estimated = (Tokens(), False) if ended.free else call.used()
    charge = NOTHING if ended.free else ended.charge or call.bill(tokens)
    event = call.event(
        ended.outcome, tokens, charge, estimated=estimated, error=ended.error, finish_reason=ended.finish_reason
    )
    if charge.loss_won != "0":
        log.error("charge_above_hold", job=call.id, loss_won=charge.loss_won)
    frame, kept = b"", b""
    if ended.final is not None:
        raw = encode_final(ended.final)
        kept = _kept(room, call, ended.final, whole=room.publisher.unheard_since(call.reply, call.claimed_at))
        large = len(raw) > MAX_PUBLISHED_BYTES
        last = Frame(call.id, call.epoch, call.seq, KEPT if large else FINAL, b"" if large else raw)
        room.publisher.remember(last)
        frame = encode_frames([last])
    room.publisher.flush()  # chunks of this tick go before the end
    end = running.Ending(
        job=call.id,
        epoch=call.epoch,
        org=call.job.org,
        key=call.job.key,
        outcome="posted",
        micro=charge.micro,
        event=encode_event(event),
        reply=call.reply,
        frame=frame,
        kept=kept,
        kept_ttl_s=room.settings.kept_ttl_s,
    )
    verdict, listeners = await _write_end(room, end)
    if verdict == "disowned":
        await _finish(room, call, DISOWNED)
        return
    if not listeners and ended.final is not None and call.job.stream:
        _keep_whole(room, call, ended.final)
    if call.span is not None:
        _end_span(call, ended, tokens)
    metrics.JOBS.labels(ended.outcome).inc()
    metrics.JOB_SECONDS.labels(call.job.surface, ended.outcome).observe(call.since_admission_ms() / 1000)


def _kept(room: Room, call: Call, final: Final, *, whole: bool) -> bytes:
    """The answer as it is kept for its front end, sealed. A stream's tail is enough where its frames were heard."""
    if (
        whole
        and call.job.stream
        and final.status < 400
        and (before := room.publisher.whole(call.id, call.seq)) is not None
    ):
        final = msgspec.structs.replace(final, body=before + final.body, before=len(before))
    return room.kept_sealer.seal(encode_final(final), call.id.encode())


def _keep_whole(room: Room, call: Call, final: Final) -> None:
    """Nobody heard the end: should this worker die before its front end asks again, the stream is in Redis."""
    kept = _kept(room, call, final, whole=True)
    keeping = room.redis.submit("SET", keys.kept(call.id), kept, "EX", room.settings.kept_ttl_s)
    keeping.add_done_callback(_forget_error)


async def _write_end(room: Room, end: running.Ending) -> tuple[str, int]:
    """Until Redis has it. Returns the script's verdict (``lost`` where the end was given up) and how many listened."""
    loop = asyncio.get_running_loop()
    until = loop.time() + END_PATIENCE_S
    while True:
        try:
            verdict, listeners = await running.finish(room.redis, end)
        except (RedisError, OSError) as error:
            if loop.time() > until:
                log.critical("usage_event_lost", job=end.job, micro=end.micro, error=str(error))
                return "lost", 0
            await asyncio.sleep(END_RETRY_S)
            continue
        if verdict == "stale":
            log.warning("end_was_stale", job=end.job, epoch=end.epoch)
        elif end.frame:
            room.publisher.heard(end.reply, listeners)
        return verdict, listeners


def _not_claimed(room: Room, claimed: running.NotClaimed) -> None:
    """A job that killed its workers has been ended; its relay learns it in a frame of an epoch of its own."""
    if claimed.reason != "spent":
        return
    log.error("job_claimed_too_often", job=claimed.job, epoch=claimed.epoch)
    last = Frame(claimed.job, claimed.epoch + 1, 0, FINAL, encode_final(faults.internal()))
    room.redis.submit("PUBLISH", claimed.reply, encode_frames([last])).add_done_callback(_forget_error)


def _forget_error(answered: asyncio.Future[Any]) -> None:
    if not answered.cancelled() and (error := answered.exception()) is not None:
        log.warning("frame_not_kept_or_published", error=str(error))


async def _end_unreadable(room: Room, claim: running.Claim) -> None:
    """A job that does not open (another secret, damage) is ended at once, free of charge."""
    raw = encode_final(Final(500, faults.internal().body))
    frame = encode_frames([Frame(claim.job, claim.epoch, 0, FINAL, raw)])
    end = running.Ending(claim.job, claim.epoch, "", "", "voided", 0, claim.base_event, claim.reply, frame, b"", 0)
    await _write_end(room, end)
