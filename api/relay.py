"""The relay: frames of all open jobs in, answers out; notices what is missing or silent and sees to it.

One clock looks at every open job a few times a second; the limits are the settings' and docs/architecture.md's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Coroutine, Iterable
from typing import Any

import msgspec
import structlog
from redis.exceptions import RedisError

from api import metrics
from api.reply import Buffers, Reply
from api.unheard import Unheard
from gateway.credit import admission
from gateway.credit.running import MOST_EPOCHS
from gateway.credit.scripts import AsyncExecutor
from gateway.errors import GatewayError, InternalError, ServiceUnavailable
from gateway.seal import Unsealable
from gateway.settings import Settings
from gateway.wire import keys
from gateway.wire.frame import MAX_PUBLISHED_BYTES, Control, Frame, decode_final, decode_frames, encode_control

ORPHAN_S = 2.0
"""Frames of an unknown job are kept this long: the reply to its admission may still be on its way."""
ORPHAN_JOBS, ORPHAN_BYTES = 10_000, 32 * 1024 * 1024
CLOSED_S = 15.0
"""Frames of a job that ended here are dropped for this long without asking its worker to stop."""
MOST_REPUBLISHED = 2
CANCEL_FOR_S, CANCEL_PAUSE_S, CANCEL_LONGEST_PAUSE_S = 120.0, 0.25, 2.0
"""A cancel waits for Redis as long as this: whoever left during an outage must not pay for what comes after it."""
SILENCE_MOST_S = 60.0
"""A claimed job of which nothing is heard for this long has failed, even where Redis cannot be asked about it."""

log = structlog.get_logger()


class Orphan:
    """Frames of a job that this process does not know yet."""

    __slots__ = ("bytes", "frames", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.frames: list[Frame] = []
        self.bytes = 0


class Relay:
    """All open answers of this process.

    Args:
        settings: the time limits.
        redis: for repairs and cancels.
        channel: this process's reply channel.
    """

    def __init__(self, settings: Settings, redis: AsyncExecutor, channel: str) -> None:
        self._settings = settings
        self._redis = redis
        self.channel = channel
        self.unheard = Unheard(redis)
        self._kept = settings.sealer("kept")
        self._open: dict[str, Reply] = {}
        self._orphans: OrderedDict[str, Orphan] = OrderedDict()
        self._orphan_bytes = 0
        self._buffers = Buffers(settings.client_buffers_bytes)
        self._closed: OrderedDict[str, float] = OrderedDict()
        self._chores: set[asyncio.Task[None]] = set()
        self._busy: set[str] = set()
        self._clock: asyncio.Task[None] | None = None
        self._tick_s = max(0.02, min(0.25, settings.unclaimed_s / 8, settings.lease_s / 8, settings.keepalive_s / 4))
        self._repair_s = max(0.05, min(0.5, settings.lease_s / 8))

    def start(self) -> None:
        """Begins to watch the time."""
        self._clock = asyncio.create_task(self._watch(), name="relay clock")

    async def aclose(self) -> None:
        """Waits for cancels under way and stops."""
        if self._clock is not None:
            self._clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._clock
        if self._chores:
            await asyncio.wait(self._chores, timeout=2.0)

    @property
    def open(self) -> int:
        """Answers under way."""
        return len(self._open)

    def expect(self, job: str, *, stream: bool, background: bool = False) -> Reply:
        """Opens a placed job's answer, with whatever frames came before."""
        now = asyncio.get_running_loop().time()
        reply = Reply(job, stream, self._settings.client_buffer_bytes, now, self._buffers)
        if background:
            reply.patience_s = self._settings.flex_wait_s
        self._open[job] = reply
        metrics.OPEN.inc()
        if (orphan := self._orphans.pop(job, None)) is not None:
            self._orphan_bytes -= orphan.bytes
            for frame in orphan.frames:
                self._take(reply, frame, now)
        return reply

    def close(self, reply: Reply) -> None:
        """The consumer is done. A job that has not ended is cancelled."""
        if self._open.pop(reply.job, None) is None:
            return
        metrics.OPEN.dec()
        reply.forget()
        self._closed[reply.job] = asyncio.get_running_loop().time()
        if reply.final is None:
            # whoever gets an error instead of an answer pays nothing, whatever our side had of it already
            free = reply.error is not None and not reply.delivered
            self.cancel(reply.job, "failed" if reply.error else "left" if reply.left else "dropped", free=free)

    def cancel(self, job: str, why: str, *, free: bool = False) -> None:
        """Asks for the job's end, in the background, again while Redis is away. ``free``: nothing is charged."""
        metrics.CANCELS.labels(why).inc()
        self._chore(self._cancel(job, why, free=free))

    def fail_all(self, error: GatewayError) -> None:
        """Ends every open answer with ``error``: the process has no more time."""
        for reply in self._open.values():
            reply.fail(error)

    def on_frames(self, payload: bytes) -> None:
        """One message of the reply channel."""
        try:
            frames = decode_frames(payload)
        except msgspec.DecodeError:
            log.error("frames_undecodable", bytes=len(payload))
            return
        now = asyncio.get_running_loop().time()
        for frame in frames:
            reply = self._open.get(frame.job)
            if reply is not None:
                self._take(reply, frame, now)
            elif frame.job not in self._closed:
                self._adopt(frame, now)
        if self._buffers.bytes > self._buffers.most:
            self._relieve()

    def on_again(self) -> None:
        """The subscription was away: whatever was published meanwhile is asked for again."""
        for reply in list(self._open.values()):
            if not reply.ended:
                self._mend(reply, self._catch_up(reply))

    # ---- frames

    def _take(self, reply: Reply, frame: Frame, now: float) -> None:
        taken = reply.take(frame, now)
        if taken == "ok":
            return
        if taken == "gap":
            metrics.GAPS.inc()
            self._mend(reply, self._ask_resend(reply))
        elif taken == "kept":
            self._mend(reply, self._read_kept(reply))
        elif taken == "overflow":
            self._break(reply, "slow", ServiceUnavailable("The client read the answer too slowly."))
            reply.cut_off()
        else:
            self._break(reply, "interrupted", InternalError("The answer was interrupted. Please try again."))

    def _relieve(self) -> None:
        """All clients together leave too much lying: those with the most are cut off, until the rest has room."""
        excess = self._buffers.bytes - self._buffers.most
        for reply in sorted(self._open.values(), key=lambda each: each.unsent, reverse=True):
            if excess <= 0:
                return
            excess -= reply.unsent
            if not reply.left:
                self._break(reply, "buffers", ServiceUnavailable("The client read the answer too slowly."))
                reply.cut_off()

    def _adopt(self, frame: Frame, now: float) -> None:
        if self.unheard.disowned(frame.job):
            self._closed[frame.job] = now
            self.cancel(frame.job, "disowned", free=True)
            return
        self.unheard.heard(frame.job)
        orphan = self._orphans.get(frame.job)
        if orphan is None:
            orphan = self._orphans[frame.job] = Orphan(now)
        orphan.frames.append(frame)
        orphan.bytes += len(frame.data)
        self._orphan_bytes += len(frame.data)
        while self._orphan_bytes > ORPHAN_BYTES or len(self._orphans) > ORPHAN_JOBS:
            self._abandon(*self._orphans.popitem(last=False), now)

    def _abandon(self, job: str, orphan: Orphan, now: float) -> None:
        self._orphan_bytes -= orphan.bytes
        self._closed[job] = now
        log.warning("orphan_cancelled", job=job, frames=len(orphan.frames))
        self.cancel(job, "orphan")

    # ---- time

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._tick_s
            await asyncio.sleep(self._tick_s)
            now = loop.time()
            metrics.LOOP_LAG.observe(max(0.0, now - due))
            for reply in list(self._open.values()):
                if not reply.left:
                    self._look_at(reply, now)
            while self._orphans and now - next(iter(self._orphans.values())).since >= ORPHAN_S:
                self._abandon(*self._orphans.popitem(last=False), now)
            while self._closed and now - next(iter(self._closed.values())) >= CLOSED_S:
                self._closed.popitem(last=False)

    def _look_at(self, reply: Reply, now: float) -> None:
        s = self._settings
        if reply.stream and now - reply.written_at >= (s.keepalive_s if reply.quiet else s.header_silence_s):
            reply.quiet = True
            reply.written_at = now
            reply.wake.set()
        if reply.ended:
            return
        if reply.epoch and now - reply.heard_at >= SILENCE_MOST_S:
            self._break(reply, "silence", InternalError("The answer was interrupted. Please try again."))
            return
        if reply.job in self._busy:
            return
        if reply.wants_kept:
            self._mend(reply, self._read_kept(reply))
        elif reply.missing:
            # a worker that is deaf just now hears again within its lease, or it is not there any more
            hopeless = now - reply.missing_since >= s.lease_s
            if hopeless or now - reply.asked_at >= self._repair_s:
                self._mend(reply, self._last_resort(reply) if hopeless else self._ask_resend(reply))
        elif reply.epoch == 0:
            self._look_at_unclaimed(reply, now)
        elif now - reply.heard_at >= s.lease_s:
            self._mend(reply, self._break_silence(reply))

    def _look_at_unclaimed(self, reply: Reply, now: float) -> None:
        if now - reply.placed_at >= (reply.patience_s or self._settings.placed_lease_s):
            error = ServiceUnavailable("No worker was free to take the request.", retry_after_s=5)
            self._break(reply, "unclaimed", error)
        elif now - reply.heard_at >= self._settings.unclaimed_s:
            self._mend(reply, self._republish(reply))

    # ---- repairs: one at a time for each job

    def _mend(self, reply: Reply, work: Coroutine[Any, Any, None]) -> None:
        if reply.job in self._busy:
            work.close()  # the clock comes back to it
            return
        self._busy.add(reply.job)
        self._chore(self._guarded(reply, work))

    async def _guarded(self, reply: Reply, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (RedisError, OSError) as exc:
            log.warning("repair_failed", job=reply.job, reason=type(exc).__name__)
        finally:
            self._busy.discard(reply.job)

    async def _catch_up(self, reply: Reply) -> None:
        """After a reconnection: an ended job's last frame is certainly missing, a running one's perhaps."""
        if not reply.stream and await self._kept_answer(reply):
            return
        state = await self._redis.execute_command("HGET", keys.JOB_PREFIX + reply.job, "st")
        if state == b"p":
            return  # nobody has it yet, so nobody has said anything
        if state is None:
            reply.miss(asyncio.get_running_loop().time())
        await self._ask_resend(reply)

    async def _ask_resend(self, reply: Reply) -> None:
        reply.asked_at = asyncio.get_running_loop().time()
        metrics.RESENDS.inc()
        worker = await self._worker_of(reply.job) or reply.worker
        channels = [keys.control(worker)] if worker else await self._every_worker()
        request = encode_control(Control("resend", reply.job, reply.next, self.channel))
        for channel in channels:
            await self._redis.execute_command("PUBLISH", channel, request)

    async def _worker_of(self, job: str) -> str | None:
        """Who holds the job; None where it has ended or was never claimed."""
        raw: bytes | None = await self._redis.execute_command("HGET", keys.JOB_PREFIX + job, "wk")
        return raw.decode() if raw else None

    async def _every_worker(self) -> Iterable[bytes | str]:
        """For a job so short that its worker never gave its name: whoever has its frames answers."""
        return await self._redis.execute_command("PUBSUB", "CHANNELS", keys.CONTROL_PREFIX + "*")

    async def _read_kept(self, reply: Reply) -> None:
        """The end of the answer lies under its key, and everything before it has come."""
        if not await self._kept_answer(reply, whole=True):
            self._break(reply, "kept", InternalError("The answer was lost. Please try again."))

    async def _kept_answer(self, reply: Reply, *, whole: bool = False) -> bool:
        """Ends the reply with the kept answer where that is complete. A stream's holds only its end, so it helps a
        stream only when nothing before is missing (``whole``), or when it is an error; unless its worker noticed that
        nobody heard it and kept it whole."""
        sealed: bytes | None = await self._redis.execute_command("GET", keys.kept(reply.job))
        if not sealed or reply.ended:
            return reply.ended
        try:
            final = decode_final(self._kept.open(sealed, reply.job.encode()))
        except (Unsealable, msgspec.DecodeError):
            log.error("kept_answer_unreadable", job=reply.job)
            return False
        if reply.stream and final.status < 400:
            if final.before >= 0 and not reply.next:
                reply.start_over()
            elif not whole:
                return False
            else:
                final = msgspec.structs.replace(final, body=final.body[max(0, final.before) :])
        metrics.KEPT.inc()
        reply.give_final(final)
        if len(sealed) > MAX_PUBLISHED_BYTES:  # megabytes of pictures, in what holds the credit window too
            self._chore(self._forget_kept(reply.job))
        return True

    async def _forget_kept(self, job: str) -> None:
        with contextlib.suppress(RedisError, OSError):  # else it lapses by itself
            await self._redis.execute_command("UNLINK", keys.kept(job))

    async def _last_resort(self, reply: Reply) -> None:
        if not await self._kept_answer(reply):
            self._break(reply, "gap", InternalError("A part of the answer was lost. Please try again."))

    async def _republish(self, reply: Reply) -> None:
        """Only what was really published counts: a worker may have claimed the job and died before we heard of it."""
        reply.heard_at = asyncio.get_running_loop().time()
        enough = reply.republished >= MOST_REPUBLISHED
        if enough and reply.taken_over >= MOST_EPOCHS:
            return
        verdict = await admission.republish(self._redis, reply.job, claimed_only=enough)
        if verdict == "gone":
            await self._look_for_end(reply)
        elif verdict == "sent":
            reply.republished += 1
        elif verdict == "again":
            reply.taken_over += 1
        if verdict in ("sent", "again"):
            metrics.REPUBLISHED.inc()
            log.info("job_published_again", job=reply.job, why=verdict, epoch=reply.epoch)

    async def _break_silence(self, reply: Reply) -> None:
        """The worker has said nothing for as long as its lease."""
        if await self._worker_of(reply.job) is None:
            await self._look_for_end(reply)
        elif reply.delivered or reply.taken_over >= MOST_EPOCHS:
            self._break(reply, "silence", InternalError("The answer was interrupted. Please try again."))
        else:
            await self._republish(reply)

    async def _look_for_end(self, reply: Reply) -> None:
        """The job has ended without our hearing of it."""
        if await self._kept_answer(reply):
            return
        if reply.epoch == 0 and not reply.stream:
            self._break(reply, "voided", ServiceUnavailable("No worker was free to take the request.", retry_after_s=5))
        else:
            reply.miss(
                asyncio.get_running_loop().time()
            )  # asked for again, and if nobody has it the answer ends with an error

    # ---- endings

    def _break(self, reply: Reply, why: str, error: GatewayError) -> None:
        if reply.ended:
            return
        metrics.BROKEN.labels(why).inc()
        log.warning("answer_broken", job=reply.job, why=why, epoch=reply.epoch, next=reply.next)
        reply.fail(error)

    async def _cancel(self, job: str, why: str, *, free: bool) -> None:
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + CANCEL_FOR_S, CANCEL_PAUSE_S
        while loop.time() < until:
            try:
                verdict = await admission.cancel(self._redis, job, free=free)
            except (RedisError, OSError) as exc:
                log.warning("cancel_waits", job=job, reason=type(exc).__name__)
                await asyncio.sleep(pause)
                pause = min(2 * pause, CANCEL_LONGEST_PAUSE_S)
            else:
                log.info("job_cancelled", job=job, why=why, verdict=verdict)
                return

    def _chore(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
