"""The other side of a worker in tests: a window with money, admission, and a relay that collects frames."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import redis
import redis.asyncio

from gateway.catalogue.model import Model, Quirks
from gateway.catalogue.packaged import builtin
from gateway.credit import admission, running, upkeep
from gateway.credit.admission import Placed, Placement
from gateway.deployments.deployment import Deployment
from gateway.redis import RedisLine
from gateway.settings import Settings
from gateway.wire import ids, keys
from gateway.wire.event import UsageEvent, decode_event, encode_event
from gateway.wire.frame import (
    ALIVE,
    CHUNK,
    FINAL,
    KEPT,
    Control,
    Final,
    Frame,
    decode_final,
    decode_frames,
    encode_control,
)
from gateway.wire.job import Job, JobTerms, encode_job
from workers.calls import CallWorker

SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
REPLY = keys.reply("test")
MODEL = "openai/gpt-4o"
TERMS = JobTerms("price-1", "rate-1", "2.5", "10", None, None, None, "1400.60")
START_MICRO = 1_000_000_000_000


def settings(url: str, **changes: Any) -> Settings:
    """Settings of a test: nobody who is sound meets a limit, however slow the machine; what is to be met is short."""
    values: dict[str, Any] = {
        "database_url": "postgresql://nobody@localhost/none",
        "redis_url": url,
        "secret": SECRET,
        "first_token_timeout_s": 60.0,
        "idle_timeout_s": 60.0,
        "total_timeout_s": 120.0,
        "heartbeat_s": 0.05,
        "lease_s": 1.0,
        "nobody_listens_s": 0.3,
        **changes,
    }
    return Settings(**values)


def deployment(base_url: str, name: str = "d1", model: str = MODEL, **changes: Any) -> Deployment:
    """An OpenAI-compatible deployment at the mock."""
    made = Deployment(name, model, "openai", base_url, "gpt-4o", "sk-upstream-0001")
    return msgspec.structs.replace(made, **changes)


@dataclasses.dataclass
class Heard:
    """What the relay received for one job."""

    frames: list[Frame] = dataclasses.field(default_factory=list[Frame])

    @property
    def text(self) -> str:
        """All the stream's text, the final frame's included."""
        parts = [frame.data for frame in self.frames if frame.kind == CHUNK]
        last = self.final
        return (b"".join(parts) + (last.body if last else b"")).decode()

    @property
    def final(self) -> Final | None:
        """The final frame's content."""
        return next((decode_final(frame.data) for frame in self.frames if frame.kind == FINAL), None)

    def chunks(self) -> list[dict[str, Any]]:
        """The stream's events without `[DONE]`."""
        events = [line.removeprefix("data: ") for line in self.text.split("\n\n") if line.startswith("data: ")]
        return [json.loads(event) for event in events if event != "[DONE]"]

    def content(self) -> str:
        """The first choice's content as a client puts it together."""
        deltas = [choice["delta"] for chunk in self.chunks() for choice in chunk["choices"] if choice["index"] == 0]
        return "".join(delta.get("content") or "" for delta in deltas)


class Line:
    """Redis with one organisation, the admission script, and a subscribed relay."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = redis.Redis.from_url(url)
        self.kept_sealer = settings(url).sealer("kept")
        self.sealer = settings(url).sealer("job")
        self.redis = RedisLine(url)
        self.heard: dict[str, Heard] = {}
        self.speaking: set[str] = set()
        """Jobs of which a chunk has come."""
        self._changed = asyncio.Condition()
        self._listening = redis.asyncio.Redis.from_url(url)
        self._pubsub = self._listening.pubsub()
        self._listener: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Empties Redis, opens the window and subscribes."""
        self.client.flushall()
        org = upkeep.OrgWindow("org", 1, START_MICRO, 0, [], [("key", 1, 0)])
        upkeep.rebuild_end(self.client, [org], "w1")
        await self.listen()

    async def listen(self) -> None:
        """Subscribes to the reply channel."""
        await self._pubsub.subscribe(REPLY)
        first = await self._pubsub.get_message(timeout=60)
        assert first is not None and first["type"] == "subscribe"
        self._listener = asyncio.create_task(self._listen())

    async def deafen(self) -> None:
        """The front end dies."""
        if self._listener is not None:
            self._listener.cancel()
            self._listener = None
        await self._pubsub.aclose()

    async def close(self) -> None:
        """Ends everything."""
        await self.deafen()
        await self._listening.aclose()
        self.client.close()
        await self.redis.aclose()

    async def _listen(self) -> None:
        async for message in self._pubsub.listen():
            if message["type"] == "message":
                async with self._changed:
                    for frame in decode_frames(message["data"]):
                        self.heard.setdefault(frame.job, Heard()).frames.append(frame)
                        if frame.kind == CHUNK:
                            self.speaking.add(frame.job)
                    self._changed.notify_all()

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Waits for frames until the condition holds."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    async def ended(self, job: str, seconds: float = 60.0) -> Heard:
        """What a job's client got, once its last frame is here."""
        kinds = (FINAL, KEPT)
        await self.until(lambda: any(f.kind in kinds for f in self.of(job).frames), seconds)
        return self.of(job)

    def of(self, job: str) -> Heard:
        """What has been heard of a job."""
        return self.heard.setdefault(job, Heard())

    def alive(self, job: str) -> list[Frame]:
        """The heartbeats of a job."""
        return [frame for frame in self.of(job).frames if frame.kind == ALIVE]

    async def place(
        self,
        body: dict[str, Any],
        *,
        models: Sequence[str] = (MODEL,),
        cap: int = 4096,
        policy: str = "optimistic",
        terms: JobTerms | dict[str, JobTerms] = TERMS,
        input_micro: int = 1_000_000,
        unit_micro: int = 14_006,
        **job: Any,
    ) -> str:
        """Admits a job and takes its message off the queue; returns its id."""
        stream = bool(body.get("stream"))
        options = body.get("stream_options") or {}
        base = UsageEvent("", "org", "key", body["model"], "bizrouter", "chat", stream)
        priced = terms if isinstance(terms, dict) else dict.fromkeys(models, terms)
        digits = ids.random_parts()
        sealed_at = (digits[0] + digits[1]).encode()
        wanted = Job(
            "org", "key", "bizrouter", "chat", body["model"], list(models), priced, "v1", stream,
            bool(options.get("include_usage")), cast("Any", policy), json.dumps(body).encode(), 100_000, **job,
        )  # fmt: skip  # the order is the struct's
        placed = await admission.place(
            self.redis,
            Placement(
                "w1", "org", "key", 1, 1, digits, 0, 2**52, "202611", True, -1, -1, input_micro, unit_micro, cap, 16,
                -1, -1, (), 20_000, 60_000, 12_000, self.sealer.seal(encode_job(wanted), sealed_at), 1800, REPLY,
                encode_event(base), 10**9, background=bool(job.get("background")),
            ),
        )  # fmt: skip  # the order is the struct's
        assert isinstance(placed, Placed), placed
        return placed.job

    async def ask(self, worker: str, control: Control) -> None:
        """Sends a control message."""
        await self.redis.execute_command("PUBLISH", keys.control(worker), encode_control(control))

    async def taken_over(self, job: str) -> running.Claim:
        """Another worker claims the job, as if its own had been silent for the whole lease."""
        while True:
            self.client.zadd(keys.LEASES, {job: 1})
            claim = await running.claim(self.redis, job, "another", 60_000)
            if isinstance(claim, running.Claim):
                return claim
            assert claim.reason == "leased", claim  # its worker has renewed the lease in between

    async def field(self, job: str, name: str, wanted: Callable[[bytes], object] = bool) -> bytes:
        """A field of the job's hash, once it is as wanted."""
        async with asyncio.timeout(60):
            while not wanted(value := cast("bytes", self.client.hget("wr:j:" + job, name) or b"")):  # noqa: ASYNC110 Redis tells nobody
                await asyncio.sleep(0.01)
        return value

    def events(self) -> list[UsageEvent]:
        """The usage stream's events."""
        rows = cast("list[Any]", self.client.xrange(keys.USAGE))
        return [decode_event(fields[b"ev"]) for _, fields in rows]

    def rows(self) -> list[dict[bytes, bytes]]:
        """The usage stream's raw rows."""
        return [fields for _, fields in cast("list[Any]", self.client.xrange(keys.USAGE))]

    def window(self) -> upkeep.Reading:
        """The organisation's window."""
        reading = upkeep.read(self.client, "org")
        assert reading is not None
        return reading


def chat(text: str = "hello", **more: Any) -> dict[str, Any]:
    """A client's body."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def models_with(model: str, **changes: Any) -> dict[str, Model]:
    """The catalogue with one model changed."""
    models = dict(builtin().models)
    quirks = changes.pop("quirks", None)
    if quirks is not None:
        changes["quirks"] = msgspec.structs.replace(models[model].quirks, **quirks)
        assert isinstance(changes["quirks"], Quirks)
    models[model] = msgspec.structs.replace(models[model], **changes)
    return models


async def started(
    line: Line, deployments: Sequence[Deployment], models: dict[str, Model] | None = None, **changes: Any
) -> CallWorker:
    """A worker in this loop, ready."""
    worker = CallWorker(settings(line.url, **changes), lambda: deployments, models or builtin().models)
    await worker.start()
    async with asyncio.timeout(60):
        await worker.room.deployments.loaded.wait()
        await worker.control.wait(60)
    return worker


async def refused(worker: CallWorker, run: asyncio.Task[None]) -> None:
    """Waits until the one call that runs has been refused a larger hold, or has ended."""
    async with asyncio.timeout(60):
        while not run.done() and not any(call.refused for call in worker.room.leases.calls()):  # noqa: ASYNC110 it tells nobody
            await asyncio.sleep(0.005)
