"""Frames on their way: batches, resends, memory."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from gateway.wire.frame import MAX_PUBLISHED_BYTES, Frame, decode_frames
from workers.publisher import FRAME_OVERHEAD_BYTES, Publisher

pytestmark = pytest.mark.anyio


class Wire:
    """Takes PUBLISH commands and answers with a number of listeners."""

    def __init__(self) -> None:
        self.published: list[tuple[str, list[Frame]]] = []
        self.listeners = 1

    def submit(self, *args: Any) -> asyncio.Future[int]:
        self.published.append((args[1], decode_frames(args[2])))
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        answer.set_result(self.listeners)
        return answer


def made(wire: Any, most_bytes: int = 1_000_000) -> tuple[Publisher, list[str]]:
    silent: list[str] = []
    return Publisher(wire, "w", nobody_s=0.0, most_bytes=most_bytes, on_nobody=silent.append), silent


async def test_frames_of_one_tick_share_one_publish_per_channel() -> None:
    wire = Wire()
    publisher, _ = made(wire)
    for job in ("a", "b"):
        publisher.chunk("one", job, 1, 0, b"x")
    publisher.chunk("two", "c", 1, 0, b"y")
    await asyncio.sleep(0)
    assert [(reply, [frame.job for frame in frames]) for reply, frames in wire.published] == [
        ("one", ["a", "b"]),
        ("two", ["c"]),
    ]


async def test_no_publish_is_larger_than_one_may_be() -> None:
    wire = Wire()
    publisher, _ = made(wire, 100_000_000)
    for seq in range(10):
        publisher.chunk("one", "a", 1, seq, b"x" * (MAX_PUBLISHED_BYTES // 3))
    publisher.flush()
    assert [frame.seq for _, frames in wire.published for frame in frames] == list(range(10))
    assert max(sum(len(frame.data) for frame in frames) for _, frames in wire.published) <= MAX_PUBLISHED_BYTES


async def test_a_stream_is_whole_while_the_memory_has_lost_none_of_it() -> None:
    publisher, _ = made(Wire(), most_bytes=2_000)
    assert publisher.whole("a", 0) == b""
    for seq in range(3):
        publisher.chunk("one", "a", 1, seq, b"%d" % seq * 300)
    assert publisher.whole("a", 3) == b"0" * 300 + b"1" * 300 + b"2" * 300
    assert publisher.whole("a", 4) is None
    for seq in range(3, 40):
        publisher.chunk("one", "a", 1, seq, b"x" * 300)
    assert publisher.whole("a", 40) is None, "the older half has been dropped"
    publisher.ended("a")
    assert publisher.whole("a", 40) is None


async def test_what_reached_nobody_is_known_by_its_channel_and_time() -> None:
    wire = Wire()
    publisher, _ = made(wire)
    began = time.monotonic()
    assert not publisher.unheard_since("one", began)
    wire.listeners = 0
    publisher.chunk("one", "a", 1, 0, b"x")
    publisher.flush()
    await asyncio.sleep(0)
    assert publisher.unheard_since("one", began)
    assert not publisher.unheard_since("two", began)
    assert not publisher.unheard_since("one", time.monotonic() + 1)


async def test_a_channel_without_listeners_is_told_once_it_lasts() -> None:
    wire = Wire()
    wire.listeners = 0
    publisher, silent = made(wire)
    publisher.chunk("one", "a", 1, 0, b"x")
    for _ in range(3):  # the end of the tick, and the wire's answer
        await asyncio.sleep(0)
    assert silent == ["one"]


async def test_memory_is_bounded_and_what_finished_goes_first() -> None:
    wire = Wire()
    size = 1000 + FRAME_OVERHEAD_BYTES
    publisher, _ = made(wire, 4 * size)
    publisher.chunk("one", "done", 1, 0, b"x" * 1000)
    publisher.ended("done")
    for seq in range(4):
        publisher.chunk("one", "open", 1, seq, b"x" * 1000)
    assert publisher.resend("done", 0, "one") == 0
    assert publisher.resend("open", 0, "one") == 4
    publisher.chunk("one", "open", 1, 4, b"x" * 1000)
    assert publisher.kept_bytes <= 4 * size
    assert publisher.resend("open", 4, "one") == 1


async def test_a_job_of_another_worker_sends_nothing_more() -> None:
    wire = Wire()
    publisher, _ = made(wire)
    publisher.chunk("one", "lost", 1, 0, b"x")
    publisher.forget("lost")
    await asyncio.sleep(0)
    assert not any(frames for _, frames in wire.published)
    assert publisher.resend("lost", 0, "one") == 0
    assert publisher.kept_bytes == 0
