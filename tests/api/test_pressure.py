"""What one api process takes on, and what it says beyond that: at once, with Retry-After, before anything is taken."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.api.conftest import KEY, KROUTER_KEY, WON, House, an_identity, bearer, body, finish_all, until
from tests.api.test_relay import reading

pytestmark = pytest.mark.anyio

OTHER = {"key": KROUTER_KEY}


@pytest.fixture
async def two(house: House) -> House:
    """Two organisations."""
    other = house.book.put(KROUTER_KEY, an_identity(key_id="key2", org_id="org2"))
    for each in (an_identity(), other):
        await house.open_window(each, balance_micro=1_000_000 * WON)
    return house


def refused(response: httpx.Response) -> bool:
    """As every SDK understands it: come back, and when."""
    if response.status_code == 200:
        return False
    assert response.status_code == 503
    assert 1 <= int(response.headers["retry-after"]) <= 3
    assert response.json()["error"]["type"] == "service_unavailable"
    return True


@contextlib.asynccontextmanager
async def answering(house: House) -> AsyncIterator[None]:
    task = asyncio.create_task(finish_all(house))
    yield
    task.cancel()


class TestCalls:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"most_calls": 4}

    async def test_one_organisation_may_have_half_of_the_calls(self, two: House) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(reading(two))
            await until(lambda: two.parts.pressure.open == 2, "begun")
            assert refused(await two.ask())
            async with answering(two):
                assert not refused(await two.ask(**OTHER))
        await until(lambda: two.parts.pressure.open == 0, "all calls left")

    async def test_a_call_leaves_however_it_ends(self, two: House) -> None:
        for wrong in ({"temperature": 9}, {"model": "no/such"}, {"max_tokens": -1}):
            assert (await two.ask(**wrong)).status_code in (400, 404)
        async with reading(two):
            await until(lambda: two.parts.pressure.open == 1, "begun")
        await until(lambda: two.parts.pressure.open == 0, "the client that left counts no more")
        assert two.parts.pressure.held_bytes == 0


class TestBodies:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"most_body_bytes": 4_000_000, "max_body_bytes": 3_000_000}

    async def test_bytes_of_one_organisation_are_bounded_and_do_not_touch_another(self, two: House) -> None:
        slow = Upload(two, 1_900_000)
        task = asyncio.create_task(slow.send())
        await until(lambda: two.parts.pressure.held_bytes >= 1_900_000, "the body is announced")
        text = "x" * 200_000
        assert refused(await two.ask(messages=[{"role": "user", "content": text}]))
        async with answering(two):
            assert not refused(await two.ask(messages=[{"role": "user", "content": text}], **OTHER))
            slow.go_on.set()
            await task
        await until(lambda: two.parts.pressure.held_bytes == 0, "nothing is held")

    async def test_a_body_that_announces_nothing_counts_as_it_comes(self, two: House) -> None:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(25):
                yield b" " * 100_000

        response = await two.client.post("/api/v1/chat/completions", content=parts(), headers=bearer(KEY))
        assert refused(response)
        await until(lambda: two.parts.pressure.held_bytes == 0, "nothing is held")


class Upload:
    """A call whose body does not come to its end before it is told to."""

    def __init__(self, house: House, size: int) -> None:
        self.go_on = asyncio.Event()
        self._house, self._size = house, size

    async def send(self) -> httpx.Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b" " * 1000
            await self.go_on.wait()
            yield b" " * (self._size - 1000)

        headers = {**bearer(KEY), "content-length": str(self._size)}
        return await self._house.client.post("/api/v1/chat/completions", content=parts(), headers=headers)


async def test_a_loop_that_is_behind_takes_on_nothing_new_and_answers_probes(two: House) -> None:
    two.parts.pressure._turnstile._lag = 500.0  # pyright: ignore[reportPrivateUsage]  # as if its ticks took seconds
    two.parts.pressure._turnstile._began = float("inf")  # pyright: ignore[reportPrivateUsage]
    assert refused(await two.ask())
    assert (await two.client.get("/healthz")).status_code == 200


async def test_a_burst_of_one_organisation_does_not_hold_up_anothers_call(two: House) -> None:
    order: list[str] = []

    async def ask(name: str, **fields: Any) -> None:
        response = await two.ask(**fields)
        assert response.status_code == 200
        order.append(name)

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=two.client.base_url, limits=limits, timeout=60) as client:
        two.client = client
        flood = [asyncio.create_task(ask("flood")) for _ in range(60)]
        other = asyncio.create_task(ask("other", **OTHER))
        # placed in turn, and taken in turn: whatever arrived first, the other's is among the first few that are taken
        await until(lambda: two.parts.pressure.open == 61, "all have arrived")
        taken = [await two.worker.take() for _ in range(3)]
        assert "org2" in {each.job.org for each in taken}
        for each in taken:
            await each.end()
        async with answering(two):
            await asyncio.gather(*flood, other)
    assert order.index("other") < 30


class TestConnections:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"most_connections": 2}

    async def test_beyond_their_limit_only_probes_are_answered(self, house: House) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", house.port) for _ in range(2)]
        await until(lambda: len(house.server.server_state.connections) == 2, "connected")
        assert refused(response := await house.ask())
        assert response.headers["connection"] == "close"
        assert (await house.client.get("/healthz")).status_code == 200
        for _, writer in idle:
            writer.close()
        await until(lambda: len(house.server.server_state.connections) <= 1, "they have gone")
        async with httpx.AsyncClient(base_url=house.client.base_url, timeout=20) as client, answering(house):
            response = await client.post("/api/v1/chat/completions", json=body(), headers=bearer(KEY))
            assert response.status_code == 200


class TestClientsThatDoNotRead:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"client_stall_s": 0.4}

    async def test_whoever_does_not_read_a_whole_answer_is_cut(self, house: House) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port, limit=1024)
        writer.write(
            (b"GET /api/v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + KEY.encode() + b"\r\n\r\n") * 400
        )
        await until(lambda: not house.server.server_state.connections, "cut")
        came = b""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                came += data
        assert 0 < came.count(b"HTTP/1.1 ") < 400, "only what lay in the sockets' buffers"
        writer.close()


class TestSlowReadersTogether:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"client_buffers_bytes": 3_000_000, "client_buffer_bytes": 100_000_000, "header_silence_s": 0.1}

    async def test_the_one_with_the_most_is_cut_off_and_the_others_go_on(self, house: House) -> None:
        async with reading(house) as reader:
            good = await house.worker.take()
            async with house.streaming():
                greedy = await house.worker.take()
                await greedy.say("a")
                for _ in range(200):
                    await greedy.say("x" * 100_000)
                    if greedy.claim.job not in house.parts.relay._open:  # pyright: ignore[reportPrivateUsage]
                        break
                await until(lambda: greedy.claim.job not in house.parts.relay._open, "cut off")  # pyright: ignore[reportPrivateUsage]
            await good.say("fine")
            await good.end()
            assert (await reader.whole()).endswith(b"data: [DONE]\n\n")
        await until(lambda: house.parts.relay._buffers.bytes == 0, "nothing is kept")  # pyright: ignore[reportPrivateUsage]


class TestExpectedWaiting:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"queue_wait_s": -1.0}  # any wait is too long

    async def test_whoever_would_wait_too_long_is_refused_at_once_with_nothing_taken(self, two: House) -> None:
        first = asyncio.create_task(two.ask())
        await until(lambda: two.parts.relay.open == 1, "placed")
        assert refused(await two.ask())
        assert (await two.window(an_identity()))[1] == 1
        assert refused(await two.ask()), "and the next ones for a moment without being looked at"
        async with answering(two):
            assert (await first).status_code == 200


class TestFlex:
    async def test_it_waits_in_the_background_and_travels_nowhere(self, two: House) -> None:
        flex = asyncio.create_task(two.ask(service_tier="flex"))
        await until(lambda: two.parts.relay.open == 1, "placed")
        other = asyncio.create_task(two.ask(**OTHER))
        await until(lambda: two.parts.relay.open == 2, "placed")
        taken = await two.worker.take()
        assert (taken.job.org, taken.job.background) == ("org2", False)
        await taken.end()
        assert (await other).status_code == 200
        behind = await two.worker.take()
        assert behind.job.background
        assert b"service_tier" not in behind.job.body
        await behind.end()
        assert (await flex).status_code == 200

    async def test_any_other_tier_travels_on(self, busy: House) -> None:
        assert (await busy.ask(service_tier="default")).status_code == 200
