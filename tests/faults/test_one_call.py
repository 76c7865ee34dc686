"""One call and what may befall it: its worker killed, its client gone or slow, its messages doubled, late or reordered."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import redis

from tests.faults.conftest import Scene
from tests.faults.holders import worker_of
from tests.faults.load import Ask, load
from tests.operating import until


def test_a_worker_killed_before_the_first_token_is_not_noticed(scene: Scene) -> None:
    scene.provider.gate.close()
    with load(scene.url, scene.key, [Ask(True, 12, "gate=0")], 1, once=True) as running:
        (first,) = scene.provider.log.wait_for(lambda calls: len(calls) == 1)
        os.kill(worker_of(scene, first), signal.SIGKILL)
        scene.provider.log.wait_for(lambda calls: len(calls) == 2)
        scene.provider.gate.open()
        (outcome,) = running.finish()
    assert outcome.whole
    books = scene.books([outcome])
    assert books.differences() == []
    (row,) = books.rows
    assert [attempt["billed"] for attempt in row["attempts"]] == [False, True]
    assert scene.balance_matches(books)


def test_a_worker_killed_in_mid_stream_is_an_explicit_error_and_its_checkpoint_is_charged(scene: Scene) -> None:
    scene.provider.gate.close()
    with load(scene.url, scene.key, [Ask(True, 60, "gate=30")], 1, once=True) as running:
        calls = scene.provider.log.wait_for(lambda calls: calls and calls[0].completion_tokens == 30)
        until(lambda: _checkpoint(scene), "a checkpoint")
        os.kill(worker_of(scene, calls[0]), signal.SIGKILL)
        (outcome,) = running.finish()
    scene.provider.gate.open()
    assert outcome.error
    assert not outcome.ended
    books = scene.books([outcome], tokens_behind=30)
    assert books.differences() == []
    (row,) = books.rows
    assert row["estimated"]
    assert 0 < row["completion_tokens"] <= 30
    assert scene.balance_matches(books)


def _checkpoint(scene: Scene) -> int:
    """What the open job's checkpoint would be charged, in micro-won."""
    client: Any = scene.redis
    return sum(int(client.hget(name, "ckm") or 0) for name in client.scan_iter("wr:j:*"))


def test_a_client_that_leaves_has_its_upstream_closed_and_pays_for_what_was_used(scene: Scene) -> None:
    ask = Ask(True, 3_000, "delay=10ms")
    headers = {"authorization": f"Bearer {scene.key}"}
    with httpx.stream("POST", f"{scene.url}/chat/completions", json=ask.body(), headers=headers, timeout=60) as answer:
        received = sum(line.startswith("data:") for _, line in zip(range(40), answer.iter_lines(), strict=False))
    (call,) = scene.provider.log.wait_for(lambda calls: calls and calls[0].ended_at)
    assert call.closed_early
    books = scene.books([], tokens_behind=call.completion_tokens)  # what lay in the sockets at the close
    assert books.differences() == []
    (row,) = books.rows
    assert row["outcome"] == "cancelled"
    assert received - 2 <= row["completion_tokens"] <= call.completion_tokens < 3_000
    assert scene.balance_matches(books)


def test_a_client_that_does_not_read_is_cut_off_and_the_others_are_not_held_up(scene: Scene) -> None:
    ask = Ask(True, 4_000, "delay=1ms pad=2000 burst=4 gate=3900")
    scene.provider.gate.close()  # more than fits anywhere on the way is sent before it, and the end never
    with _deaf_client(scene, ask) as sock:
        with load(scene.url, scene.key, [Ask(True, 20, ""), Ask(False, 20, "")], 8, once=True) as others:
            others.wait_for_outcomes(8)
        calls = scene.provider.log.wait_for(lambda calls: any(c.closed_early for c in calls))
        read = _what_is_left(sock)
    assert b"[DONE]" not in read
    assert [o for o in others.outcomes if not o.whole] == []
    (slow,) = [call for call in calls if call.closed_early]
    assert slow.completion_tokens < 4_000
    books = scene.books(others.outcomes, tokens_behind=slow.completion_tokens)  # what lay in the sockets at the close
    assert books.differences() == []
    (row,) = [row for row in books.rows if row["completion_tokens"] > 20]
    received = read.count(b'"content":') - 1  # the first event's is empty
    assert 0 < received <= row["completion_tokens"] <= slow.completion_tokens, "used is charged"
    assert scene.balance_matches(books)


@contextmanager
def _deaf_client(scene: Scene, ask: Ask) -> Iterator[socket.socket]:
    """Asks, and reads nothing."""
    place = urlsplit(scene.installation.root)
    body = msgspec.json.encode(ask.body())
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(60)
        sock.connect((place.hostname, place.port))
        head = (
            f"POST /api/v1/chat/completions HTTP/1.1\r\nhost: {place.netloc}\r\nauthorization: Bearer {scene.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        sock.sendall(head.encode() + body)
        yield sock


def _what_is_left(sock: socket.socket) -> bytes:
    """What lies in the socket of a client that was cut off."""
    read = bytearray()
    with suppress(ConnectionError):
        while piece := sock.recv(65_536):
            read += piece
    return bytes(read)


def test_doubled_late_and_reordered_messages_change_nothing(scene: Scene) -> None:
    asks = [Ask(True, 60, "delay=5ms"), Ask(False, 20, "delay=5ms"), Ask(True, 5, "")]
    with _meddling(scene) as meddled, load(scene.url, scene.key, asks, 12) as running:
        running.wait_for_outcomes(60)
        until(lambda: meddled.count("frames") > 50 and meddled.count("event") > 10, "enough said again")
        outcomes = running.finish()
    assert [o for o in outcomes if not o.whole] == []
    books = scene.books(outcomes)
    assert books.differences() == []
    assert len(books.rows) == len(outcomes)
    assert scene.balance_matches(books)


@contextmanager
def _meddling(scene: Scene) -> Iterator[list[str]]:
    """Says everything again: frames a little late and in another order, and each usage event as a second entry."""
    client = redis.Redis.from_url(str(scene.installation.up["redis_url"]))
    stopping, meddled = threading.Event(), list[str]()

    def frames() -> None:
        with client.pubsub() as listening:
            listening.psubscribe("wr:reply:*")
            heard: list[tuple[Any, Any]] = []
            repeated: set[bytes] = set()
            while not stopping.is_set():
                message = listening.get_message(timeout=0.02)
                if message and message["type"] == "pmessage" and message["data"] not in repeated:
                    repeated.add(message["data"])
                    heard.append((message["channel"], message["data"]))
                if len(heard) >= 8 or (heard and not message):
                    for channel, data in reversed(heard):
                        client.publish(channel, data)
                        meddled.append("frames")
                    heard.clear()

    def events() -> None:
        copied: set[bytes] = set()
        while not stopping.is_set():
            for _, fields in client.xrange("wr:usage", count=100):
                if fields[b"job"] not in copied:
                    copied.add(fields[b"job"])
                    client.xadd("wr:usage", fields)
                    meddled.append("event")
            time.sleep(0.002)

    threads = [threading.Thread(target=work, daemon=True) for work in (frames, events)]
    for thread in threads:
        thread.start()
    try:
        yield meddled
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
        client.close()
