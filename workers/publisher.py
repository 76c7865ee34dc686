"""Frames on their way to the api processes: one PUBLISH per channel and loop tick, and a memory for what got lost."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from functools import partial

import structlog
from redis.exceptions import RedisError

from gateway.redis import RedisLine
from gateway.wire.frame import ALIVE, CHUNK, MAX_PUBLISHED_BYTES, Frame, encode_frames
from workers import metrics

log = structlog.get_logger("workers.publisher")

FINISHED_KEPT_S = 30.0
"""How long a finished job's frames can be asked for again; by then its relay has given up."""
MOST_WHOLE_BYTES = 1024 * 1024
"""A longer stream is not kept whole: Redis holds the credit windows too. All of a worker's together are no more than its
memory for repairs."""
UNHEARD_KEPT_S = 3_600.0
"""Longer than any call runs."""
FRAME_OVERHEAD_BYTES = 160
"""What a kept frame costs beyond its data, so that many small ones count."""


@dataclasses.dataclass(slots=True, eq=False)
class _Sent:
    """The frames of one job that were published, without the ones dropped from the front."""

    frames: list[Frame]
    size: int = 0
    ended_at: float | None = None


class Publisher:
    """Publishes frames and counts who listens.

    Args:
        redis: the line that also carries the job's end, so that both keep their order.
        worker: this worker's id, named in heartbeats.
        nobody_s: after this long without a listener on a channel `on_nobody(channel)` is called.
        most_bytes: what the kept frames of all jobs may take.
    """

    def __init__(
        self, redis: RedisLine, worker: str, *, nobody_s: float, most_bytes: int, on_nobody: Callable[[str], None]
    ) -> None:
        self._redis = redis
        self._worker = worker.encode()
        self._nobody_s = nobody_s
        self._most_bytes = most_bytes
        self._on_nobody = on_nobody
        self._pending: dict[str, list[Frame]] = {}
        self._scheduled = False
        self._silent_since: dict[str, float] = {}
        self._unheard: dict[str, float] = {}
        self._sent: dict[str, _Sent] = {}
        self._ended: dict[str, _Sent] = {}
        self._kept_bytes = 0

    def chunk(self, reply: str, job: str, epoch: int, seq: int, data: bytes) -> None:
        """Sends a piece of a stream at the end of this tick, and remembers it."""
        frame = Frame(job, epoch, seq, CHUNK, data)
        self.remember(frame)
        self._queue(reply, frame)

    def alive(self, reply: str, job: str, epoch: int, last_seq: int) -> None:
        """Sends a heartbeat."""
        self._queue(reply, Frame(job, epoch, last_seq, ALIVE, self._worker))

    def _queue(self, reply: str, frame: Frame) -> None:
        self._pending.setdefault(reply, []).append(frame)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Sends now what waits for the end of the tick."""
        self._scheduled = False
        pending, self._pending = self._pending, {}
        for reply, frames in pending.items():
            for batch in _batches(frames):
                self._publish(reply, batch)

    def _publish(self, reply: str, frames: list[Frame]) -> None:
        metrics.FRAMES.inc(len(frames))
        answered = self._redis.submit("PUBLISH", reply, encode_frames(frames))
        answered.add_done_callback(partial(self._published, reply))

    def _published(self, reply: str, answered: asyncio.Future[int]) -> None:
        if answered.cancelled():
            return
        error = answered.exception()
        if error is None:
            self.heard(reply, answered.result())
        elif isinstance(error, RedisError | OSError):
            self._unheard[reply] = time.monotonic()
            metrics.NOT_PUBLISHED.inc()
            log.warning("frames_not_published", error=str(error))  # their relay will see the gap
        else:
            raise error

    def heard(self, reply: str, listeners: int) -> None:
        """Takes note of how many listened on a channel."""
        if listeners:
            self._silent_since.pop(reply, None)
            return
        now = self._unheard[reply] = time.monotonic()
        if now - self._silent_since.setdefault(reply, now) >= self._nobody_s:
            del self._silent_since[reply]
            self._on_nobody(reply)

    def unheard_since(self, reply: str, moment: float) -> bool:
        """Whether anything that went out on a channel since that moment (monotonic) is known to have reached nobody."""
        return self._unheard.get(reply, -1.0) >= moment

    def whole(self, job: str, count: int) -> bytes | None:
        """The first ``count`` pieces of a stream, all that was sent of it; None where the memory has lost one of them, or
        they are too much to keep in Redis."""
        sent = self._sent.get(job)
        chunks = [frame for frame in sent.frames if frame.kind == CHUNK] if sent else []
        if len(chunks) != count or sum(len(frame.data) for frame in chunks) > MOST_WHOLE_BYTES:
            return None
        return b"".join(frame.data for frame in chunks)

    def remember(self, frame: Frame) -> None:
        """Keeps a published frame for a resend."""
        sent = self._sent.get(frame.job)
        if sent is None:
            sent = self._sent[frame.job] = _Sent([])
        size = len(frame.data) + FRAME_OVERHEAD_BYTES
        sent.frames.append(frame)
        sent.size += size
        self._kept_bytes += size
        if self._kept_bytes > self._most_bytes:
            self._make_room()

    def _make_room(self) -> None:
        """Finished jobs are forgotten first, oldest first; then the largest open one loses its older half."""
        while self._kept_bytes > self._most_bytes and self._ended:
            self._forget_ended(next(iter(self._ended)))
        while self._kept_bytes > self._most_bytes and self._sent:
            largest = max(self._sent.values(), key=lambda sent: sent.size)
            half = max(1, len(largest.frames) // 2)
            dropped = sum(len(frame.data) + FRAME_OVERHEAD_BYTES for frame in largest.frames[:half])
            del largest.frames[:half]
            largest.size -= dropped
            self._kept_bytes -= dropped
            if not largest.frames:
                break

    def ended(self, job: str) -> None:
        """The job is over: its frames stay for a while."""
        sent = self._sent.pop(job, None)
        if sent is not None:
            sent.ended_at = time.monotonic()
            self._ended[job] = sent

    def forget(self, job: str) -> None:
        """The job is another worker's now: nothing of it may go out again from here."""
        sent = self._sent.pop(job, None)
        if sent is not None:
            self._kept_bytes -= sent.size
        for frames in self._pending.values():
            frames[:] = [frame for frame in frames if frame.job != job]

    def sweep(self) -> None:
        """Forgets what finished long ago."""
        now = time.monotonic()
        self._unheard = {reply: at for reply, at in self._unheard.items() if now - at < UNHEARD_KEPT_S}
        oldest = now - FINISHED_KEPT_S
        for job in [job for job, sent in self._ended.items() if (sent.ended_at or 0) < oldest]:
            self._forget_ended(job)

    def _forget_ended(self, job: str) -> None:
        self._kept_bytes -= self._ended.pop(job).size

    def resend(self, job: str, seq: int, reply: str) -> int:
        """Publishes the job's kept frames from number `seq` on again; returns how many there were."""
        sent = self._sent.get(job) or self._ended.get(job)
        frames = [frame for frame in sent.frames if frame.seq >= seq] if sent else []
        self.flush()  # what is newer must not overtake what is older
        for batch in _batches(frames):
            self._publish(reply, batch)
        metrics.RESENDS.inc()
        return len(frames)

    @property
    def kept_bytes(self) -> int:
        """What the kept frames take."""
        return self._kept_bytes


def _batches(frames: list[Frame]) -> list[list[Frame]]:
    """Lists of frames that stay below the largest PUBLISH; a larger frame goes alone."""
    batches: list[list[Frame]] = []
    size = MAX_PUBLISHED_BYTES
    for frame in frames:
        size += len(frame.data) + 64
        if size > MAX_PUBLISHED_BYTES:
            batches.append([])
            size = len(frame.data) + 64
        batches[-1].append(frame)
    return batches
