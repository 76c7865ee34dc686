"""A worker that does exactly what a test tells it, over the real claim and finish scripts."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec
import redis.asyncio as aio

from gateway.credit import running
from gateway.credit.running import Claim, Ending, NotClaimed
from gateway.seal import Sealer
from gateway.wire import ids, keys
from gateway.wire.event import decode_event, encode_event
from gateway.wire.frame import (
    ALIVE,
    CHUNK,
    FINAL,
    KEPT,
    Control,
    Final,
    Frame,
    decode_control,
    encode_final,
    encode_frames,
)
from gateway.wire.job import Job, celery_message, decode_job

NAME = "played"


class Taken:
    """A claimed job; the numbers of its frames are counted here unless a test gives them."""

    def __init__(self, worker: PlayedWorker, claim: Claim, job: Job) -> None:
        self.worker = worker
        self.claim = claim
        self.job = job
        self.seq = 0

    async def send(self, *frames: Frame) -> int:
        return await self.worker.redis.publish(self.claim.reply, encode_frames(list(frames)))

    def chunk(self, data: bytes, seq: int | None = None, epoch: int | None = None) -> Frame:
        if seq is None:
            seq, self.seq = self.seq, self.seq + 1
        return Frame(self.claim.job, self.claim.epoch if epoch is None else epoch, seq, CHUNK, data)

    def final(self, final: Final, seq: int | None = None) -> Frame:
        return Frame(self.claim.job, self.claim.epoch, self.seq if seq is None else seq, FINAL, encode_final(final))

    def alive(self, seq: int) -> Frame:
        return Frame(self.claim.job, self.claim.epoch, seq, ALIVE, NAME.encode())

    async def say(self, *texts: str) -> None:
        for text in texts:
            await self.send(self.chunk(event(text)))

    async def end(
        self, final: Final | None = None, *, publish: bool = True, kept_frame: bool = False, micro: int = 0
    ) -> str:
        """Ends the job as a worker does: event, hold, slot, kept answer and last frame in one call."""
        final = final or (Final(200, b"data: [DONE]\n\n") if self.job.stream else Final(200, answer("hi")))
        frame = Frame(self.claim.job, self.claim.epoch, self.seq, KEPT) if kept_frame else self.final(final)
        event = msgspec.structs.replace(decode_event(self.claim.base_event), job=self.claim.job, outcome="complete")
        verdict, _ = await running.finish(
            self.worker.redis,
            Ending(
                job=self.claim.job,
                epoch=self.claim.epoch,
                org=self.job.org,
                key=self.job.key,
                outcome="posted",
                micro=micro,
                event=encode_event(event),
                reply=self.claim.reply,
                frame=encode_frames([frame]) if publish else b"",
                kept=self.worker.kept.seal(encode_final(final), self.claim.job.encode()),
                kept_ttl_s=60,
            ),
        )
        return verdict


class PlayedWorker:
    """Claims what is on the queue, when told to."""

    def __init__(self, redis: aio.Redis, sealer: Sealer, kept: Sealer) -> None:
        self.redis = redis
        self.kept = kept
        self.controls: asyncio.Queue[Control] = asyncio.Queue()
        self._sealer = sealer
        self._pubsub = redis.pubsub()
        self._task: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        await self._pubsub.subscribe(keys.control(NAME))
        self._task = asyncio.create_task(self._hear())

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._pubsub.aclose()

    async def next_job(self) -> str:
        """The job that the next message on the queue names, or the first one that waits where it names none."""
        while True:
            popped: Any = await self.redis.brpop([keys.CALL_QUEUE], timeout=30)
            assert popped is not None, "no message came"
            named = msgspec.json.decode(msgspec.json.decode(popped[1])["body"])[0][0]
            if job := named or await self._waiting():
                return job

    async def lose_message(self) -> None:
        """Waits for a message and does nothing, like a worker that is killed before it takes anything."""
        assert await self.redis.brpop([keys.CALL_QUEUE], timeout=30) is not None, "no message came"

    async def _waiting(self) -> str:
        ring, count, org = keys.READY, keys.WAITING, await self.redis.lpop(keys.READY)
        if org is None:
            ring, count, org = keys.LATER, keys.DEFERRED, await self.redis.lpop(keys.LATER)
        if org is None:
            return ""  # whoever came before has taken all of them
        own = f"{ring}:{org.decode()}"
        job: Any = await self.redis.lpop(own)
        if job is None:
            return ""  # these steps are not one, as the script's are: another came between
        if await self.redis.llen(own):
            await self.redis.rpush(ring, org)
        await self.redis.decr(count)
        await self.redis.delete(keys.CALLED)
        if await self.redis.llen(keys.READY) or await self.redis.llen(keys.LATER):
            await self.redis.lpush(keys.CALL_QUEUE, celery_message(message="again"))
        return job.decode()

    async def claim(self, job: str, lease_ms: int = 5_000) -> Taken | NotClaimed:
        claim = await running.claim(self.redis, job, NAME, lease_ms)
        if isinstance(claim, NotClaimed):
            return claim
        return Taken(self, claim, decode_job(self._sealer.open(claim.body, ids.place_of(job))))

    async def take(self, lease_ms: int = 5_000) -> Taken:
        """Waits for a message and claims its job; one that was published twice may be taken already."""
        while True:
            taken = await self.claim(await self.next_job(), lease_ms)
            if isinstance(taken, Taken):
                return taken

    async def control(self, verb: str) -> Control:
        """Waits for a control message of that kind."""
        while True:
            control = await asyncio.wait_for(self.controls.get(), 30)
            if control.verb == verb:
                return control

    async def _hear(self) -> None:
        async for message in self._pubsub.listen():
            if message["type"] == "message":
                self.controls.put_nowait(decode_control(message["data"]))


def event(text: str) -> bytes:
    return b"data: " + msgspec.json.encode({"choices": [{"index": 0, "delta": {"content": text}}]}) + b"\n\n"


def answer(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return msgspec.json.encode({"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice]})
