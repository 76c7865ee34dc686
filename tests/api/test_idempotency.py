"""``Idempotency-Key``: the first answer again, one charge, whoever leaves or dies."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from api import idempotency
from api.idempotency import HEADER
from gateway.credit import once
from gateway.wire import keys
from gateway.wire.frame import Final
from tests.api.conftest import KEY, WON, House, an_identity, bearer, body, until
from tests.api.test_admission import error
from tests.api.worker import answer, event

pytestmark = pytest.mark.anyio

NAME = HEADER.decode()
CHAT = "/api/v1/chat/completions"


async def ask(house: House, key: str, *, who: str = KEY, path: str = CHAT, **fields: Any) -> httpx.Response:
    headers = bearer(who) | {NAME: key}
    return await house.client.post(path, json=fields or body(), headers=headers)


async def answered(
    house: House, key: str, *, micro: int = 7, final: Final | None = None, **fields: Any
) -> httpx.Response:
    """A call with this key whose job a worker takes and ends at once."""
    call = asyncio.create_task(ask(house, key, **fields))
    taken = await house.worker.take()
    await taken.end(final, micro=micro)
    return await call


async def waiting(house: House) -> int:
    return int(await house.redis.get(keys.WAITING) or 0)


async def records(house: House) -> list[bytes]:
    redis: Any = house.redis
    return [name async for name in redis.scan_iter(match="wr:i:*")]


async def test_the_same_key_and_body_get_the_first_answer_without_a_second_job(house: House) -> None:
    first = await answered(house, "a-1")
    again = await ask(house, "a-1")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert await waiting(house) == 0


async def test_a_stream_is_given_again_as_a_stream(house: House) -> None:
    call = asyncio.create_task(ask(house, "s-1", **body(stream=True)))
    taken = await house.worker.take()
    await taken.say("hel", "lo")
    await taken.end(micro=7)
    first = await call
    again = await ask(house, "s-1", **body(stream=True))
    assert first.content == event("hel") + event("lo") + b"data: [DONE]\n\n" == again.content
    assert again.headers["content-type"].startswith("text/event-stream")


async def test_another_body_or_path_with_the_key_is_refused(house: House) -> None:
    await answered(house, "a-1")
    other = await ask(house, "a-1", **body(temperature=0.5))
    assert (other.status_code, error(other)["code"]) == (422, "idempotency_mismatch")
    elsewhere = await ask(house, "a-1", path="/v1/chat/completions")
    assert elsewhere.status_code == 422


async def test_of_many_at_once_one_is_executed_and_the_others_are_told_to_wait(house: House) -> None:
    calls = [asyncio.create_task(ask(house, "a-1")) for _ in range(20)]
    taken = await house.worker.take()
    await until(lambda: sum(call.done() for call in calls) == 19, "the others answered")
    others = [call.result() for call in calls if call.done()]
    assert {(r.status_code, error(r)["code"]) for r in others} == {(409, "idempotency_in_progress")}
    assert {r.headers["retry-after"] for r in others} == {"1"}
    assert await waiting(house) == 0
    await taken.end(micro=7)
    answers = [call.result() for call in await _all(calls)]
    first = next(r for r in answers if r.status_code == 200)
    assert (await ask(house, "a-1")).content == first.content


async def _all(calls: list[asyncio.Task[httpx.Response]]) -> list[asyncio.Task[httpx.Response]]:
    await asyncio.wait(calls)
    return calls


async def test_a_call_whose_client_leaves_goes_on_and_its_answer_waits(house: House) -> None:
    for stream in (False, True):
        key = f"left-{stream}"
        call = asyncio.create_task(ask(house, key, **body(stream=stream)))
        taken = await house.worker.take()
        if stream:
            await taken.say("hel")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.sleep(0)
        assert house.worker.controls.empty()  # nobody cancels it
        if stream:
            await taken.say("lo")
        await taken.end(micro=7)
        await until(lambda: _kept(house), "the answer kept")
        again = await ask(house, key, **body(stream=stream))
        assert again.status_code == 200
        assert (b"hel" in again.content and b"lo" in again.content) if stream else again.content == answer("hi")
        await house.redis.delete(*await records(house))


async def _kept(house: House) -> bool:
    return all([await house.redis.hget(name, "st") == b"kept" for name in await records(house)])


async def test_an_error_that_was_not_charged_leaves_the_key_free(house: House) -> None:
    failed = await answered(house, "a-1", micro=0, final=Final(502, b'{"error":{}}'))
    assert failed.status_code == 502
    assert (await answered(house, "a-1")).status_code == 200
    refused = await ask(house, "b-1", model="nobody/nothing", messages=[])
    assert refused.status_code in (400, 404)
    assert (await answered(house, "b-1")).status_code == 200


async def test_an_error_that_was_charged_is_given_again(house: House) -> None:
    charged = Final(502, b'{"error":{"code":"provider_unavailable"}}', charged=True)
    first = await answered(house, "a-1", final=charged)
    again = await ask(house, "a-1")
    assert (again.status_code, again.content) == (first.status_code, first.content) == (502, charged.body)
    assert await waiting(house) == 0


async def crash(house: House) -> None:
    """The front end dies before it kept anything: its claim lapses, and nobody renews it."""
    running = house.parts.idempotency._running  # pyright: ignore[reportPrivateUsage]
    await until(lambda: running, "the call under way")
    for task in list(running):
        task.cancel()
    for name in await records(house):
        await house.redis.hset(name, "until", 0)


async def test_after_a_crash_what_was_charged_is_not_charged_again(house: House) -> None:
    call = asyncio.create_task(ask(house, "a-1"))
    taken = await house.worker.take()
    await crash(house)
    still = await ask(house, "a-1")
    assert (still.status_code, error(still)["code"]) == (409, "idempotency_in_progress")  # its job runs
    await taken.end(micro=7)
    lost = await ask(house, "a-1")
    assert (lost.status_code, error(lost)["code"]) == (409, "idempotency_answer_lost")
    assert lost.headers["x-should-retry"] == "false"
    assert await waiting(house) == 0
    await asyncio.gather(call, return_exceptions=True)


async def test_after_a_crash_what_was_charged_nothing_runs_again(house: House) -> None:
    call = asyncio.create_task(ask(house, "a-1"))
    taken = await house.worker.take()
    await crash(house)
    await taken.end(micro=0)
    assert (await answered(house, "a-1")).status_code == 200
    await asyncio.gather(call, return_exceptions=True)


async def test_a_claim_that_was_taken_over_places_no_job(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    real = once.claim

    async def robbed(redis: Any, claimed: Any, *args: Any, **more: Any) -> Any:
        found = await real(redis, claimed, *args, **more)
        await redis.execute_command("HSET", claimed.record, "tok", "another's")
        return found

    monkeypatch.setattr(idempotency.once, "claim", robbed)
    refused = await ask(house, "a-1")
    assert (refused.status_code, error(refused)["code"]) == (409, "idempotency_in_progress")
    assert await waiting(house) == 0


async def test_two_api_keys_do_not_share_idempotency_keys(house: House) -> None:
    other = house.book.put("sk-br-v1-other_secret", an_identity(key_id="key2"))
    await house.open_window(other)
    await answered(house, "a-1")
    theirs = await answered(house, "a-1", who="sk-br-v1-other_secret")
    assert "idempotent-replayed" not in theirs.headers


async def test_nothing_in_redis_tells_prompt_or_answer(house: House) -> None:
    final = Final(200, answer("a very secret answer"))
    await answered(house, "a-1", final=final, **body(messages=[{"role": "user", "content": "a very secret prompt"}]))
    [name] = await records(house)
    assert b"a-1" not in name
    redis: Any = house.redis
    stored: dict[bytes, bytes] = await redis.execute_command("HGETALL", name)
    assert b"secret" not in b"".join(stored.values())
    assert 86_000 < await house.redis.ttl(name) <= once.KEPT_S


@pytest.mark.parametrize("key", ["", "x" * 256, "no spaces", "열쇠"])
async def test_a_key_that_is_none_is_refused(house: House, key: str) -> None:
    headers = [(b"authorization", f"Bearer {KEY}".encode()), (HEADER, key.encode())]
    refused = await house.client.post(CHAT, json=body(), headers=headers)
    assert (refused.status_code, error(refused)["code"]) == (400, "idempotency_key_invalid")


async def test_two_prompts_of_one_request_are_two_jobs_once(house: House) -> None:
    fields: dict[str, Any] = {"model": "openai/gpt-4o", "prompt": ["one", "two"]}
    call = asyncio.create_task(ask(house, "a-1", path="/api/v1/completions", **fields))
    for _ in range(2):
        taken = await house.worker.take()
        whole = msgspec.json.decode(answer("hi")) | {"created": 1, "model": "openai/gpt-4o"}
        await taken.end(Final(200, msgspec.json.encode(whole)), micro=7)
    first = await call
    assert first.status_code == 200
    again = await ask(house, "a-1", path="/api/v1/completions", **fields)
    assert again.content == first.content
    assert await waiting(house) == 0


async def test_charges_of_all_jobs_of_a_key_are_added_up(house: House) -> None:
    call = asyncio.create_task(ask(house, "a-1"))
    taken = await house.worker.take()
    [name] = await records(house)
    await taken.end(micro=3 * WON)
    await call
    assert await house.redis.hget(name, "micro") == b"3000000"


class TestBounds:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"idempotency_answer_bytes": 2_000, "idempotency_org_bytes": 700, "idempotency_org_keys": 2}

    async def test_a_longer_answer_is_delivered_but_not_kept_and_not_charged_twice(self, house: House) -> None:
        first = await answered(house, "a-1", final=Final(200, answer("x" * 3_000)))
        assert len(first.content) > 3_000
        again = await ask(house, "a-1")
        assert (again.status_code, error(again)["code"]) == (409, "idempotency_answer_lost")

    async def test_a_long_stream_reaches_its_client_whole(self, house: House) -> None:
        call = asyncio.create_task(ask(house, "a-1", **body(stream=True)))
        taken = await house.worker.take()
        await taken.say(*("y" * 500 for _ in range(20)))
        await taken.end(micro=7)
        assert (await call).content == event("y" * 500) * 20 + b"data: [DONE]\n\n"

    async def test_an_organisation_fills_its_room_and_no_more(self, house: House) -> None:
        for number in range(2):
            await answered(house, f"k-{number}", final=Final(200, answer("z" * 10)))
        full = await ask(house, "k-2")
        assert full.status_code == 429
        assert int(full.headers["retry-after"]) > 80_000
        assert await waiting(house) == 0
        assert int(await house.redis.get(keys.once_bytes("org1")) or 0) <= 700
