"""One answer on its way: frames of one job in order, whatever order and attempt they come in. Does no I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

import msgspec

from api import metrics
from gateway.errors import GatewayError
from gateway.wire.frame import ALIVE, CHUNK, KEPT, Final, Frame, decode_final

Taken = Literal["ok", "gap", "kept", "overflow", "interrupted"]
"""What a frame asks of the relay: nothing; a resend; the kept answer; cutting the client off; ending a torn answer."""


class Wake:
    """An event for one who waits: asyncio's keeps a queue of them, which costs more than all of a reply's own state."""

    __slots__ = ("_set", "_waiter")

    def __init__(self) -> None:
        self._set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wakes who waits, or lets the next wait return at once."""
        self._set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Returns once it has been set, and takes that back."""
        if not self._set:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._set = False


class Buffers:
    """Unsent bytes of all clients of this process, with their limit."""

    __slots__ = ("bytes", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0


class Reply:
    """The state of one open job. The relay feeds it, one consumer drains it.

    ``epoch`` is the newest attempt seen (0: none yet), ``next`` the number awaited from it. Bytes wait in ``pending``
    until the consumer takes them; from then on ``delivered`` is true, and no other attempt can take the answer over.
    """

    __slots__ = (
        "_buffers", "_cut", "_early", "_early_bytes", "_limit", "_out", "_pending", "_pending_bytes", "asked_at", "delivered",
        "epoch",        "error", "final", "first_at", "heard_at", "job", "left", "missing", "missing_since", "next", "patience_s",
        "placed_at", "quiet", "republished", "stream", "taken_over", "wake", "wants_kept", "worker", "written_at",
    )  # fmt: skip  # one block of names

    def __init__(self, job: str, stream: bool, limit_bytes: int, now: float, buffers: Buffers) -> None:
        self.job = job
        self.stream = stream
        self.epoch = 0
        self.next = 0
        self.worker = ""
        self.placed_at = now
        self.patience_s = 0.0
        self.heard_at = now
        self.written_at = now
        self.first_at: float | None = None
        self.republished = 0
        self.taken_over = 0
        self.delivered = False
        self.missing = False
        self.missing_since = 0.0
        self.asked_at = 0.0
        self.wants_kept = False
        self.quiet = False
        self.left = False
        self.final: Final | None = None
        self.error: GatewayError | None = None
        self.wake = Wake()
        self._limit = limit_bytes
        self._buffers = buffers
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._early: dict[int, Frame] = {}
        self._early_bytes = 0
        self._out = 0
        self._cut: Callable[[], None] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more is awaited from a worker."""
        return self.final is not None or self.error is not None

    def take(self, frame: Frame, now: float) -> Taken:
        """Takes one frame in, and says what the relay has to do about it."""
        if self.ended or frame.epoch < self.epoch:
            metrics.STALE.inc()
            return "ok"
        if frame.epoch > self.epoch and not self._restart(frame.epoch):
            return "interrupted"
        self.heard_at = now
        if frame.kind == ALIVE:
            self.worker = frame.data.decode()
            return self.miss(now) if frame.seq >= self.next else "ok"
        if frame.seq < self.next:
            return "ok"
        if not self.stream and frame.kind != CHUNK:
            return self._accept(frame, now)  # the whole answer: whatever came before does not matter
        if frame.seq > self.next:
            return self._keep_early(frame, now)
        taken = self._accept(frame, now)
        while taken == "ok" and (early := self._early.pop(self.next, None)) is not None:
            self._early_bytes -= len(early.data)
            self._buffers.bytes -= len(early.data)
            taken = self._accept(early, now)
        self.missing, self.missing_since = bool(self._early), now  # what came was a step towards closing the gap
        return taken

    def miss(self, now: float) -> Taken:
        """Something before what we know of has not come."""
        if self.missing:
            return "ok"
        self.missing, self.missing_since = True, now
        return "gap"

    @property
    def unsent(self) -> int:
        """Bytes kept for the client, those included that are being sent."""
        final = 0 if self.final is None else len(self.final.body)
        return self._pending_bytes + self._early_bytes + self._out + final

    def forget(self) -> None:
        """Its consumer is done: what is kept counts no more."""
        self._buffers.bytes -= self.unsent

    def sent(self, now: float) -> None:
        """Whatever was drained has gone out."""
        self.written_at = now
        self._buffers.bytes -= self._out
        self._out = 0

    def give_final(self, final: Final) -> None:
        """The job's end, read from its key."""
        if self.final is None:
            self._buffers.bytes += len(final.body)
        self.final = final
        self.wake.set()

    def start_over(self) -> None:
        """What came out of order is part of what is kept whole."""
        self._buffers.bytes -= self._early_bytes
        self._early.clear()
        self._early_bytes = 0

    def fail(self, error: GatewayError) -> None:
        """The relay gives up on the job."""
        if not self.ended:
            self.error = error
            self.wake.set()

    def client_left(self) -> None:
        """Nobody reads any more."""
        self.left = True
        self.wake.set()

    def cut_with(self, cut: Callable[[], None] | None) -> None:
        """Says how the client's connection is cut."""
        self._cut = cut

    def cut_off(self) -> None:
        """The client does not read: its connection is cut, because whoever writes to it may be waiting for it."""
        self.client_left()
        if self._cut is not None:
            self._cut()

    def drain(self) -> bytes:
        """All bytes ready for the client; they count as delivered, and as kept until ``sent``."""
        if not self._pending:
            return b""
        data = b"".join(self._pending) if len(self._pending) > 1 else self._pending[0]
        self._pending.clear()
        self._out += self._pending_bytes
        self._pending_bytes = 0
        self.delivered = True
        return data

    def _restart(self, epoch: int) -> bool:
        """Another attempt begins from nothing. False where the client already has a part of an earlier one."""
        if self.delivered:
            return False
        self.epoch, self.next = epoch, 0
        self._pending.clear()
        self._early.clear()
        self._buffers.bytes -= self._pending_bytes + self._early_bytes
        self._pending_bytes = self._early_bytes = 0
        self.missing, self.wants_kept = False, False
        return True

    def _keep_early(self, frame: Frame, now: float) -> Taken:
        if frame.seq in self._early:
            return "ok"
        self._early[frame.seq] = frame
        self._early_bytes += len(frame.data)
        self._buffers.bytes += len(frame.data)
        return "overflow" if self._early_bytes > self._limit else self.miss(now)

    def _accept(self, frame: Frame, now: float) -> Taken:
        self.next = frame.seq + 1
        if self.first_at is None:
            self.first_at = now
        if frame.kind == CHUNK:
            if self.stream:
                self._pending.append(frame.data)
                self._pending_bytes += len(frame.data)
                self._buffers.bytes += len(frame.data)
                self.wake.set()
            return "overflow" if self._pending_bytes > self._limit else "ok"
        if frame.kind == KEPT:
            self.wants_kept = True
            return "kept"
        try:
            self.give_final(decode_final(frame.data))
        except msgspec.DecodeError:
            self.wants_kept = True
            return "kept"
        return "ok"
