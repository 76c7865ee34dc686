"""Every way in which frames may fail to arrive, played by a worker that does it on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from redis.exceptions import ConnectionError as ConnectionLost

from api import metrics
from api import relay as relay_module
from gateway.credit import admission, running
from gateway.wire import keys
from gateway.wire.frame import CHUNK, MAX_PUBLISHED_BYTES, Final, Frame, encode_frames
from tests.api.conftest import KEY, House, an_identity, body, until
from tests.api.worker import NAME, Taken, answer, event

pytestmark = pytest.mark.anyio

SHORT_LEASE = pytest.mark.parametrize("settings_overrides", [{"lease_s": 0.8}], ids=["short lease"])
"""For what comes of silence. What is delivered of such an answer is all that its worker may say of it: a machine that
stands still between two frames is silence, too."""


class Reading:
    """A client that reads a stream in the background."""

    def __init__(self, house: House) -> None:
        self.data = b""
        self.status = 0
        self.task = asyncio.create_task(self._read(house))

    async def _read(self, house: House) -> None:
        async with house.streaming() as response:
            self.status = response.status_code
            async for piece in response.aiter_raw():
                self.data += piece

    async def whole(self) -> bytes:
        """All that came, once the stream has ended."""
        await asyncio.wait_for(self.task, 20)
        return self.data


@contextlib.asynccontextmanager
async def reading(house: House) -> AsyncIterator[Reading]:
    client = Reading(house)
    yield client
    client.task.cancel()


def error_of(stream: bytes) -> dict[str, Any]:
    """The error event that a stream ends with."""
    last = stream.rstrip(b"\n").split(b"\n\n")[-1]
    assert last.startswith(b"data: {"), last
    return msgspec.json.decode(last.removeprefix(b"data: "))["error"]


async def test_frames_that_overtake_each_other_are_put_in_order(house: House) -> None:
    async with reading(house) as client:
        taken = await house.worker.take()
        first, second, third = (taken.chunk(event(text)) for text in "abc")
        await taken.send(third)
        await taken.send(second, first)
        await taken.end()
        assert await client.whole() == event("a") + event("b") + event("c") + b"data: [DONE]\n\n"


async def test_a_missing_frame_is_asked_for_by_its_number(house: House) -> None:
    async with reading(house) as client:
        taken = await house.worker.take()
        first, second, third = (taken.chunk(event(text)) for text in "abc")
        await taken.send(first)
        await taken.send(third)
        asked = await house.worker.control("resend")
        assert (asked.job, asked.seq, asked.reply) == (taken.claim.job, 1, taken.claim.reply)
        await taken.send(second, third)
        await taken.end()
        assert await client.whole() == event("a") + event("b") + event("c") + b"data: [DONE]\n\n"


async def test_a_heartbeat_that_counts_further_shows_that_the_last_frame_is_missing(house: House) -> None:
    async with reading(house) as client:
        taken = await house.worker.take()
        lost = taken.chunk(event("a"))
        await taken.send(taken.alive(0))
        assert (await house.worker.control("resend")).seq == 0
        await taken.send(lost)
        await taken.end()
        assert await client.whole() == event("a") + b"data: [DONE]\n\n"


@SHORT_LEASE
async def test_a_frame_that_nobody_has_any_more_ends_the_stream_with_an_error_not_shorter(house: House) -> None:
    async with reading(house) as client:
        taken = await house.worker.take()
        first, _lost, third = (taken.chunk(event(text)) for text in "abc")
        await taken.send(first, third)
        await taken.end()
        stream = await client.whole()
        assert stream.startswith(event("a")) and b"[DONE]" not in stream
        assert error_of(stream)["type"] == "internal_error"


async def test_a_repeated_frame_is_delivered_once(house: House) -> None:
    async with reading(house) as client:
        taken = await house.worker.take()
        frame = taken.chunk(event("a"))
        await taken.send(frame, frame)
        await taken.send(frame)
        await taken.end()
        assert await client.whole() == event("a") + b"data: [DONE]\n\n"


async def test_frames_of_an_attempt_that_lost_the_job_are_dropped(house: House) -> None:
    async with reading(house) as client:
        old = await house.worker.take(lease_ms=1)
        new = await reclaim(house, old)
        await new.send(new.alive(-1))
        await old.say("from the past")
        await new.say("a")
        await new.end()
        assert await client.whole() == event("a") + b"data: [DONE]\n\n"


async def test_bytes_already_delivered_are_never_followed_by_another_attempts_answer(house: House) -> None:
    async with reading(house) as client:
        old = await house.worker.take(lease_ms=1)
        await old.say("a")
        await until(lambda: client.data == event("a"), "delivered")
        new = await reclaim(house, old)
        await new.say("b")
        rest = await client.whole()
    assert event("b") not in rest and b"[DONE]" not in rest
    assert error_of(rest)["type"] == "internal_error"


async def reclaim(house: House, old: Taken) -> Taken:
    """Another worker takes the job over, its first one's lease having lapsed."""
    new = await house.worker.claim(old.claim.job)
    while not isinstance(new, Taken):
        new = await house.worker.claim(old.claim.job)
    assert new.claim.epoch == old.claim.epoch + 1
    return new


async def test_workers_are_called_again_at_most_twice_for_an_unclaimed_job(house: House) -> None:
    client = asyncio.create_task(house.ask())
    for _ in range(3):
        await house.worker.lose_message()
    job: Any = await house.redis.lindex(keys.ready("org1"), 0)
    taken = await house.worker.claim(job.decode())
    assert isinstance(taken, Taken)
    await taken.send(taken.alive(-1))
    await taken.end()
    assert (await client).status_code == 200
    assert await house.redis.llen(keys.CALL_QUEUE) == 0


async def test_a_worker_that_dies_right_after_its_claim_is_replaced_when_its_lease_lapses(house: House) -> None:
    """It was asked for again, in vain, more often than an unclaimed job would be: none of that may use the tries up."""
    client = asyncio.create_task(house.ask())
    dead = await house.worker.take(lease_ms=int(house.settings.unclaimed_s * 4_000))
    taken = await house.worker.claim(await house.worker.next_job())
    assert isinstance(taken, Taken)
    assert taken.claim.job == dead.claim.job
    assert taken.claim.epoch == dead.claim.epoch + 1
    await taken.end()
    assert (await client).status_code == 200


@SHORT_LEASE
async def test_a_worker_silent_before_its_first_frame_is_replaced_unseen(house: House) -> None:
    async with reading(house) as client:
        silent = await house.worker.take(lease_ms=700)
        await silent.send(silent.alive(-1))
        second = await house.worker.take()
        assert second.claim.epoch == 2
        assert await silent.end() == "stale"
        await second.end(Final(200, event("a") + b"data: [DONE]\n\n"))
        assert await client.whole() == event("a") + b"data: [DONE]\n\n"


@SHORT_LEASE
async def test_a_worker_silent_in_mid_stream_ends_it_with_an_error_and_the_hold(house: House) -> None:
    async with reading(house) as client:
        silent = await house.worker.take(lease_ms=700)
        await silent.say("a")
        stream = await client.whole()
        assert stream.startswith(event("a")) and error_of(stream)["type"] == "internal_error"
    await until(lambda: gone(house), "hold given back")


async def gone(house: House) -> bool:
    return await house.window(an_identity()) == (0, 0)


async def test_heartbeats_keep_a_slow_answer_waiting(house: House) -> None:
    """Time is moved, not waited for: each silence is shorter than a lease, and all together are longer than two."""
    async with reading(house) as client:
        taken = await house.worker.take()
        await taken.say("a")
        await until(lambda: client.data, "begun")
        [reply] = house.parts.relay._open.values()
        for _ in range(3):
            reply.heard_at = silent_since = reply.heard_at - 0.75 * house.settings.lease_s
            await taken.send(taken.alive(0))
            await until(lambda since=silent_since: reply.heard_at > since, "heard")
        await taken.end()
        assert await client.whole() == event("a") + b"data: [DONE]\n\n"


async def test_a_final_frame_that_was_too_large_to_publish_is_read_from_its_key(house: House) -> None:
    client = asyncio.create_task(house.ask())
    taken = await house.worker.take()
    await taken.end(Final(200, answer("large")), kept_frame=True)
    response = await client
    assert response.content == answer("large")


async def test_a_large_answer_leaves_redis_once_its_front_end_has_it(house: House) -> None:
    client = asyncio.create_task(house.ask())
    taken = await house.worker.take()
    large = answer("x" * MAX_PUBLISHED_BYTES)
    await taken.end(Final(200, large), kept_frame=True)
    assert (await client).content == large
    assert await until(lambda: gone_from_redis(house, taken.claim.job), "gone")


async def gone_from_redis(house: House, job: str) -> bool:
    return not await house.redis.exists(keys.kept(job))


@SHORT_LEASE
async def test_an_ended_job_whose_last_frame_was_lost_is_answered_from_its_key(house: House) -> None:
    client = asyncio.create_task(house.ask())
    taken = await house.worker.take()
    await taken.send(taken.alive(-1))
    await taken.end(Final(200, answer("kept")), publish=False)
    assert (await client).content == answer("kept")


async def test_a_stream_that_nobody_heard_is_answered_from_its_key_where_it_is_kept_whole(house: House) -> None:
    async with reading(house) as client:
        taken = await house.worker.take()
        text = event("a") + event("b")
        whole = Final(200, text + b"data: [DONE]\n\n", before=len(text))
        await taken.end(whole, publish=False)  # its worker is gone: nobody has the frames
        assert await client.whole() == whole.body


async def test_of_a_stream_that_is_kept_whole_only_the_rest_goes_to_who_has_heard_the_beginning(house: House) -> None:
    async with reading(house) as client:
        taken = await house.worker.take()
        await taken.say("a")
        await until(lambda: client.data, "begun")
        text = event("a")
        await taken.end(Final(200, text + b"data: [DONE]\n\n", before=len(text)), kept_frame=True)
        assert await client.whole() == event("a") + b"data: [DONE]\n\n"


async def test_a_kept_answer_that_was_damaged_becomes_an_error(house: House) -> None:
    client = asyncio.create_task(house.ask())
    taken = await house.worker.take()
    await house.redis.set(keys.kept(taken.claim.job), b"\x01" + b"x" * 40)
    await taken.send(Frame(taken.claim.job, 1, 0, 2))
    assert (await client).status_code == 500


async def test_frames_before_the_admission_reply_are_not_lost(house: House) -> None:
    relay = house.parts.relay
    relay.on_frames(encode_frames([Frame("1" * 32, 1, 0, CHUNK, b"early")]))
    reply = relay.expect("1" * 32, stream=True)
    assert reply.drain() == b"early"
    reply.final = Final(200, b"")
    relay.close(reply)


async def test_a_job_that_nobody_awaits_is_cancelled(house: House) -> None:
    client = asyncio.create_task(house.ask())
    taken = await house.worker.take()
    await until(lambda: house.parts.relay.open, "the answer is awaited")
    house.parts.relay._open.clear()
    metrics.OPEN.dec()  # as if the reply to its admission had been lost
    await taken.send(taken.alive(-1))
    assert (await house.worker.control("cancel")).job == taken.claim.job
    client.cancel()


@SHORT_LEASE
async def test_an_answer_that_was_lost_before_its_first_byte_is_not_charged(house: House) -> None:
    client = asyncio.create_task(house.ask(stream=True))
    taken = await house.worker.take()
    await taken.send(taken.chunk(event("b"), seq=1))  # number 0 never comes
    assert (await client).status_code == 500
    told = await house.worker.control("cancel")
    assert (told.job, told.free) == (taken.claim.job, True)


async def test_a_cancel_waits_until_redis_is_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "CANCEL_PAUSE_S", 0.01)
    redis, carried_out = house.parts.redis, house.parts.redis.execute_command
    failed: list[Any] = []

    async def away(*args: Any) -> Any:
        failed.append(args)
        raise ConnectionLost("away")

    async with reading(house) as client:
        taken = await house.worker.take()
        await taken.say("a")
        await until(lambda: client.data, "the first byte")
        monkeypatch.setattr(redis, "execute_command", away)
    await until(lambda: len(failed) > 5, "many tries")
    monkeypatch.setattr(redis, "execute_command", carried_out)
    assert (await house.worker.control("cancel")).job == taken.claim.job


async def test_a_claimed_job_that_stays_silent_while_redis_is_away_ends_with_an_error(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "SILENCE_MOST_S", 1.0)

    async def away(*_: Any) -> Any:
        raise ConnectionLost("away")

    async with reading(house) as client:
        taken = await house.worker.take()
        await taken.say("a")
        await until(lambda: client.data, "the first byte")
        with monkeypatch.context() as outage:
            outage.setattr(house.parts.redis, "execute_command", away)
            assert error_of(await client.whole())["type"] == "internal_error"


def lose_replies(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Admissions are carried out, and their replies lost."""
    redis, carried_out = house.parts.redis, house.parts.redis.execute_command

    async def lose(*args: Any) -> Any:
        answer = await carried_out(*args)
        if args[0] in ("EVALSHA", "EVAL") and isinstance(answer, list) and answer[0] == b"ok":
            raise ConnectionLost("Connection closed by server.")
        return answer

    monkeypatch.setattr(redis, "execute_command", lose)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_job_whose_admission_was_never_answered_is_answered_all_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    lose_replies(house, monkeypatch)
    client = asyncio.create_task(house.ask(stream=stream))
    taken = await house.worker.take()
    await taken.send(taken.alive(-1))
    if stream:
        await taken.say("a", "b")
    await taken.end()
    answer = await client
    assert answer.status_code == 200
    assert (b'"a"' in answer.content and b"[DONE]" in answer.content) if stream else b"hi" in answer.content
    assert len(await house.redis.xrange(keys.USAGE)) == 1


async def test_a_job_whose_client_was_told_503_is_disowned(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_replies(house, monkeypatch)

    async def nothing_known(_redis: Any) -> set[str]:
        return set()

    monkeypatch.setattr(admission, "known_jobs", nothing_known)
    assert (await house.ask()).status_code == 503
    taken = await house.worker.take()
    await taken.send(taken.alive(-1))
    told = await house.worker.control("cancel")
    assert (told.job, told.free) == (taken.claim.job, True)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_has_its_job_cancelled(house: House, stream: bool) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(raw_request(stream=stream))
    taken = await house.worker.take()
    if stream:
        await taken.say("a")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()
    assert (await house.worker.control("cancel")).job == taken.claim.job
    results = await running.renew(house.redis, [running.Heartbeat(taken.claim.job, 1)], 1_000)
    assert results == [running.CANCELLED]


@pytest.mark.parametrize("more", [{"user": "u" * 300_000}, {}], ids=["a long body", "another request behind it"])
async def test_whatever_else_it_sent_a_client_that_leaves_is_noticed(house: House, more: dict[str, str]) -> None:
    """Its body stopped the reading of its connection, or a request that nobody has begun to answer is the newest."""
    _, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(raw_request(stream=False, **more) if more else raw_request(stream=False) * 2)
    taken = await house.worker.take()
    writer.close()
    assert (await house.worker.control("cancel")).job == taken.claim.job


async def test_a_client_that_leaves_before_any_worker_came_frees_everything(house: House) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(raw_request(stream=False))
    await until(lambda: house.redis.llen(keys.CALL_QUEUE), "placed")
    writer.close()
    await until(lambda: gone(house), "hold given back")
    assert await house.redis.xlen(keys.USAGE) == 1


def raw_request(*, stream: bool, **fields: Any) -> bytes:
    payload = msgspec.json.encode(body(stream=stream, **fields))
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


class TestSlowClient:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"client_buffer_bytes": 200_000}

    async def test_it_is_cut_off_and_cancelled_while_others_go_on(
        self, house: House, request: pytest.FixtureRequest
    ) -> None:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        request.addfinalizer(slow.close)
        await asyncio.get_running_loop().sock_connect(slow, ("127.0.0.1", house.port))
        await asyncio.get_running_loop().sock_sendall(slow, raw_request(stream=True))
        taken = await house.worker.take()
        async with reading(house) as quick:
            other = await house.worker.take()
            cancelled = asyncio.create_task(house.worker.control("cancel"))
            sent = 0
            while not cancelled.done():
                await taken.say("x" * 50_000)
                sent += 50_000
                assert sent < 50_000_000, "never cut off"
                await asyncio.sleep(0)
            assert cancelled.result().job == taken.claim.job
            await other.say("a")
            await other.end()
            assert await quick.whole() == event("a") + b"data: [DONE]\n\n"
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := await asyncio.get_running_loop().sock_recv(slow, 1 << 20):
                got = got[-16:] + piece
        assert not got.endswith(b"0\r\n\r\n"), "the cut answer looks complete"


async def test_the_subscription_may_break_at_any_moment_and_nothing_is_lost(house: House) -> None:
    """Frames published while nobody listened come again on demand; the others are not disturbed."""
    json_client = asyncio.create_task(house.ask())
    json_job = await house.worker.take()
    async with reading(house) as stream_client:
        stream_job = await house.worker.take()
        await stream_job.say("a")
        await kill_subscription(house)
        missed = stream_job.chunk(event("b"))
        await json_job.end(Final(200, answer("while away")), publish=False)
        while (await house.worker.control("resend")).job != stream_job.claim.job:
            pass
        await stream_job.send(missed)
        await stream_job.end()
        assert await stream_client.whole() == event("a") + event("b") + b"data: [DONE]\n\n"
    assert (await json_client).content == answer("while away")


@SHORT_LEASE
async def test_a_job_that_waits_longer_than_a_lease_after_the_subscription_broke_is_not_given_up(house: House) -> None:
    client = asyncio.create_task(house.ask(stream=True))
    first = await house.worker.next_job()  # its message is lost
    broke_at = asyncio.get_running_loop().time()
    await kill_subscription(house)
    await until(lambda: asyncio.get_running_loop().time() > broke_at + 2 * house.settings.lease_s, "two leases later")
    taken = await house.worker.claim(first)
    assert isinstance(taken, Taken)
    await taken.end(Final(200, event("a") + b"data: [DONE]\n\n"))
    assert (await client).content == event("a") + b"data: [DONE]\n\n"


async def kill_subscription(house: House) -> None:
    """CLIENT KILL of the front end's subscription, and only that."""
    for entry in await house.redis.client_list(_type="pubsub"):
        if await house.redis.pubsub_numsub(house.parts.relay.channel) and int(entry["sub"]) == 2:
            await house.redis.client_kill_filter(_id=entry["id"])
    await until(lambda: house.parts.subscription.ready, "subscribed again")


async def test_a_short_stream_lost_with_the_subscription_is_asked_of_every_worker(house: House) -> None:
    async with reading(house) as client:
        taken = await house.worker.take()
        chunk = taken.chunk(event("a"))
        await taken.end(publish=False)  # neither a frame nor a heartbeat was heard: no name, no hash
        await kill_subscription(house)
        asked = await house.worker.control("resend")
        assert asked.seq == 0
        await taken.send(chunk, taken.final(Final(200, b"data: [DONE]\n\n")))
        assert await client.whole() == event("a") + b"data: [DONE]\n\n"


async def test_while_nobody_can_hear_nothing_is_admitted(house: House) -> None:
    await house.parts.subscription.aclose()
    house.parts.subscription._lose(asyncio.get_running_loop(), ConnectionError())
    house.parts.subscription._lost_at = asyncio.get_running_loop().time() - 5
    response = await house.ask()
    assert response.status_code == 503 and response.headers["retry-after"] == "1"
    assert await house.redis.llen(keys.CALL_QUEUE) == 0
    assert (await house.client.get("/readyz")).status_code == 503


class TestQuiet:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"header_silence_s": 0.2, "keepalive_s": 0.1, "lease_s": 5.0, "unclaimed_s": 5.0}

    async def test_headers_then_comments_fill_a_long_silence(self, house: House) -> None:
        async with house.streaming() as response:
            assert response.status_code == 200
            pieces = response.aiter_raw()
            assert await anext(pieces) == b": keep-alive\n\n"
            assert await anext(pieces) == b": keep-alive\n\n"
            taken = await house.worker.take()
            await taken.end(Final(429, b'{"error":{"message":"quota","type":"insufficient_quota"}}', source="provider"))
            rest = b"".join([piece async for piece in pieces])
        error = error_of(rest)
        assert error == {"message": "quota", "type": "insufficient_quota", "param": None, "code": None}


async def test_an_error_before_the_first_byte_of_a_stream_is_a_plain_http_error(house: House) -> None:
    client = asyncio.create_task(house.ask(stream=True))
    taken = await house.worker.take()
    raw = b'{"error":{"message":"quota","type":"insufficient_quota"}}'
    await taken.end(Final(429, raw, source="provider", headers={"Retry-After": "7"}))
    response = await client
    assert (response.status_code, response.content) == (429, raw)
    assert response.headers["x-wonrouter-error-source"] == "provider"
    assert response.headers["retry-after"] == "7"
    assert "x-should-retry" not in response.headers


async def test_what_is_already_charged_is_not_to_be_tried_again(house: House) -> None:
    client = asyncio.create_task(house.ask())
    taken = await house.worker.take()
    await taken.end(Final(502, b'{"error":{"message":"cut"}}', charged=True))
    response = await client
    assert response.status_code == 502
    assert response.headers["x-should-retry"] == "false"
    assert "x-wonrouter-error-source" not in response.headers


class TestNoWorker:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"unclaimed_s": 0.05, "placed_lease_s": 0.5}

    async def test_a_job_that_nobody_takes_for_as_long_as_it_may_wait_is_an_overload(self, house: House) -> None:
        response = await house.ask()
        assert response.status_code == 503 and "retry-after" in response.headers
        await until(lambda: gone(house), "hold given back")


async def test_a_payload_that_is_no_frame_list_hurts_nobody(house: House) -> None:
    client = asyncio.create_task(house.ask())
    taken = await house.worker.take()
    await house.redis.publish(taken.claim.reply, b"\xc1garbage")
    await taken.end()
    assert (await client).status_code == 200


async def test_the_name_of_the_worker_comes_with_its_heartbeat(house: House) -> None:
    client = asyncio.create_task(house.ask())
    taken = await house.worker.take()
    await taken.send(taken.alive(-1))
    await until(lambda: [r for r in house.parts.relay._open.values() if r.worker == NAME], "heard")
    await taken.end()
    assert (await client).status_code == 200
