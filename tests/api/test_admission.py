"""Who is let in, who is not, and what they are told."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest

from api.admission import DECISIVE, LEAST_CAP
from api.quote import quote
from gateway.accounts.identity import Identity, ModelLimit
from gateway.credit import admission
from gateway.credit.scripts import PLACE
from gateway.subscription import Subscription
from gateway.wire import ids, keys
from gateway.wire.event import decode_event
from gateway.wire.news import News, encode_news
from tests.api.conftest import KEY, KROUTER_KEY, MODEL, Book, House, an_identity, bearer, body, front_end, until

pytestmark = pytest.mark.anyio


def error(response: Any) -> dict[str, Any]:
    return response.json()["error"]


BAD_CREDENTIALS: list[dict[str, str]] = [
    {},
    {"Authorization": "Bearer sk-br-v1-wrong"},
    {"Authorization": f"Basic {KEY}"},
    {"Authorization": "Bearer something-else"},
    {"X-API-Key": "sk-br-v1-wrong", "Authorization": f"Bearer {KEY}"},
    {"X-API-Key": "kr-" + "x" * 300},
]


async def test_every_route_needs_a_valid_key_and_x_api_key_wins(house: House) -> None:
    for path in ("chat/completions", "models", "models/openai/gpt-4o", "credits", "key", "generation"):
        for headers in BAD_CREDENTIALS:
            method = "POST" if path.startswith("chat") else "GET"
            response = await house.client.request(method, f"/api/v1/{path}", headers=headers)
            assert response.status_code == 401, (path, headers)
            assert response.json() == {
                "error": {"code": "invalid_api_key", "message": "Invalid API key", "type": "invalid_api_key"}
            }
            assert response.headers["x-request-id"]


@pytest.mark.parametrize("base", ["/api/v1", "/v1"])
@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
async def test_both_kinds_of_key_work_on_both_base_paths(busy: House, base: str, header: str) -> None:
    busy.book.put(KROUTER_KEY, an_identity())
    for key in (KEY, KROUTER_KEY):
        value = key if header == "X-API-Key" else f"bearer {key}"
        response = await busy.client.post(f"{base}/chat/completions", json=body(), headers={header: value})
        assert response.status_code == 200


@pytest.mark.parametrize(("base", "status"), [("/api/v1", 403), ("/v1", 402)])
async def test_exhausted_credit_has_the_status_of_its_base_path(house: House, base: str, status: int) -> None:
    await house.redis.hset(keys.org("org1"), "bal", 1)
    response = await house.ask(base)
    assert response.status_code == status
    assert error(response) == {
        "code": "credit_limit_exceeded", "message": "Credit limit exceeded", "type": "credit_limit_exceeded"
    }  # fmt: skip
    assert response.headers["x-should-retry"] == "false"
    assert await house.window(an_identity()) == (0, 0)


async def test_requests_per_minute_are_told_and_kept(busy: House) -> None:
    busy.book.change(KEY, key_rpm=2, org_rpm=100)
    first, second, third = [await busy.ask() for _ in range(3)]
    assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-remaining-requests"]) == ("2", "1")
    assert second.headers["x-ratelimit-remaining-requests"] == "0"
    assert second.headers["x-ratelimit-reset-requests"].endswith("s")
    assert third.status_code == 429
    assert error(third)["message"] == "Rate limit exceeded. Please try again later."
    assert error(third)["details"]["retry_after"] == int(third.headers["retry-after"])
    assert 0 < int(third.headers["retry-after-ms"]) <= 60_000
    assert int(third.headers["retry-after"]) == -(-int(third.headers["retry-after-ms"]) // 1000)


async def test_concurrent_requests_are_limited(house: House) -> None:
    house.book.change(KEY, org_slots=1)
    first = asyncio.create_task(house.ask())
    taken = await house.worker.take()
    second = await house.ask()
    assert second.status_code == 429 and error(second)["code"] == "rate_limit_exceeded"
    assert second.headers["retry-after"] == "1"
    await taken.end()
    assert (await first).status_code == 200


async def test_two_hundred_at_once_never_pass_a_limit(house: House) -> None:
    """Each holds the same; the balance covers exactly seven."""
    house.book.change(KEY, key_rpm=1000)
    one = await hold_of_one(house, 16)
    await house.redis.hset(keys.org("org1"), "bal", 7 * one + one // 2)
    asked = [asyncio.create_task(house.ask(max_tokens=16)) for _ in range(200)]
    taken = [await house.worker.take() for _ in range(7)]
    await until(lambda: sum(task.done() for task in asked) == 193, "the others refused")
    held, slots = await house.window(an_identity())
    assert (held, slots) == (7 * one, 7)
    for job in taken:
        await job.end()
    statuses = sorted([(await task).status_code for task in asked])
    assert statuses == [200] * 7 + [403] * 193
    assert await house.window(an_identity()) == (0, 0)


async def hold_of_one(house: House, tokens: int) -> int:
    asked = asyncio.create_task(house.ask(max_tokens=tokens))
    taken = await house.worker.take()
    await taken.end()
    await asked
    return taken.claim.hold_micro


async def test_the_hold_covers_input_and_every_choice_at_the_price_of_the_moment(house: House) -> None:
    asked = asyncio.create_task(house.ask(max_tokens=10, n=3))
    taken = await house.worker.take()
    snapshot = house.book.catalogue
    terms = snapshot.terms_at(MODEL, int(time.time() * 1000))
    per_output = int(terms.price.output_usd * terms.rate.rate)
    per_input = int(terms.price.input_usd * terms.rate.rate)
    assert taken.claim.cap == 10
    assert taken.claim.hold_micro == 10 * 3 * per_output + taken.job.input_bound * per_input
    assert taken.job.terms[MODEL].rate == "1470"
    assert taken.job.input_bound >= len("hello")
    await taken.end()
    await asked


async def test_the_job_carries_the_body_byte_for_byte_and_what_was_asked(house: House) -> None:
    raw = b'{"model":"kr/gpt4o","messages":[{"role":"user","content":"\\ud55c"}],  "unknown": {"a":[1]} }'
    asked = asyncio.create_task(
        house.client.post("/v1/chat/completions", content=raw, headers={**bearer(KEY), "X-Title": "가게".encode()})
    )
    taken = await house.worker.take()
    job = taken.job
    assert job.body == raw
    assert (job.asked, job.models[0], job.surface, job.title, job.user) == ("kr/gpt4o", MODEL, "krouter", "가게", None)
    assert (job.org, job.key, job.stream) == ("org1", "key1", False)
    base = decode_event(taken.claim.base_event)
    assert (base.org, base.key, base.asked, base.outcome) == ("org1", "key1", "kr/gpt4o", "voided")
    await taken.end()
    assert (await asked).status_code == 200


async def test_a_key_revoked_without_news_is_refused_by_its_version(busy: House) -> None:
    assert (await busy.ask()).status_code == 200
    identity = busy.book.identities.popitem()[1]
    await admission.seed_key(busy.redis, identity.key_id, identity.key_version + 1, 0)
    assert (await busy.ask()).status_code == 401


async def test_a_newer_version_in_postgres_reaches_the_window_within_the_request(busy: House) -> None:
    assert (await busy.ask()).status_code == 200
    busy.book.change(KEY, key_version=5, org_version=4, key_rpm=50)
    await admission.seed_key(busy.redis, "key1", 5, 0)
    response = await busy.ask()
    assert response.status_code == 200
    assert response.headers["x-ratelimit-limit-requests"] == "50"
    assert await busy.redis.hget(keys.org("org1"), "v") == b"4"


async def test_a_key_made_a_moment_ago_works_before_the_window_knows_it(busy: House) -> None:
    busy.book.put(KROUTER_KEY, an_identity(key_id="key2", key_version=1))
    assert (await busy.ask(key=KROUTER_KEY)).status_code == 200
    assert await busy.redis.hget(keys.key("key2"), "v") == b"1"


async def test_news_of_a_revocation_end_a_key_at_once(busy: House) -> None:
    assert (await busy.ask()).status_code == 200
    busy.book.identities.clear()
    await busy.redis.publish(keys.NEWS, encode_news(News("key", "key1")))
    await until(lambda: refused(busy), "refused")


async def test_what_was_learnt_before_any_news_could_come_is_asked_for_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(_subscription: Subscription, _patience_s: float) -> bool:
        return False

    monkeypatch.setattr(Subscription, "start", deaf)
    book = Book()
    book.put(KEY, an_identity())
    async with (
        front_end(redis_url, book) as (parts, _, port, _),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, verify=False) as client,
    ):
        assert (await client.get("/api/v1/models", headers=bearer(KEY))).status_code == 200
        book.identities.clear()
        parts.subscription.begin()
        await until(lambda: parts.subscription.ready, "subscribed")
        assert (await client.get("/api/v1/models", headers=bearer(KEY))).status_code == 401


async def refused(house: House) -> bool:
    return (await house.client.get("/api/v1/models", headers=bearer(KEY))).status_code == 401


async def test_one_load_serves_all_who_ask_at_once_and_the_cache_the_rest(busy: House) -> None:
    await asyncio.gather(*(busy.client.get("/api/v1/key", headers=bearer(KEY)) for _ in range(20)))
    await busy.client.get("/api/v1/key", headers=bearer(KEY))
    assert busy.book.asked == 1


class TestPostgresAway:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"identity_cache_s": 0.0}

    async def test_known_keys_go_on_and_unknown_ones_are_told_to_come_back(self, busy: House) -> None:
        assert (await busy.ask()).status_code == 200
        busy.book.away = True
        assert (await busy.ask()).status_code == 200
        response = await busy.ask(key=KROUTER_KEY)
        assert response.status_code == 503 and "retry-after" in response.headers
        busy.book.away = False

    async def test_a_key_known_as_revoked_is_not_let_in_by_an_old_copy(self, busy: House) -> None:
        assert (await busy.ask()).status_code == 200
        await admission.seed_key(busy.redis, "key1", 2, 0)
        busy.book.away = True
        assert (await busy.ask()).status_code == 503
        busy.book.away = False


async def test_a_window_under_another_epoch_is_learnt_within_the_request(busy: House) -> None:
    assert (await busy.ask()).status_code == 200
    await busy.redis.set(keys.EPOCH, "2")
    busy.book.epoch = "2"
    assert (await busy.ask()).status_code == 200


async def test_a_crowd_that_finds_another_epoch_asks_the_database_once(busy: House) -> None:
    assert (await busy.ask()).status_code == 200
    before = busy.book.epochs_told
    busy.book.epoch = "2"
    await busy.redis.set(keys.EPOCH, "2")
    answers = await asyncio.gather(*(busy.ask(max_tokens=16) for _ in range(60)))
    assert [answer.status_code for answer in answers] == [200] * 60
    assert busy.book.epochs_told - before == 1


async def test_whoever_comes_when_an_epoch_has_just_been_told_knows_it(busy: House) -> None:
    assert (await busy.ask()).status_code == 200
    asking = busy.parts.admission
    busy.book.epoch = "2"
    learning = asyncio.create_task(asking._learn_epoch())
    for _ in range(100):
        await asyncio.sleep(0)
        if asking._learning is None:  # from this tick on nobody asks any more
            break
    assert asking._epoch == "2"
    await learning


@pytest.mark.parametrize("reason", ["rebuilding", "stale", "terms"])
async def test_a_machine_slower_than_all_patience_still_tries_what_a_refusal_taught(
    busy: House, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand calls at once the last waits seconds for its first look; that is no reason to send it away."""
    assert (await busy.ask()).status_code == 200
    monkeypatch.setattr("api.admission.STALE_PATIENCE_S", 1e-12)
    monkeypatch.setattr("api.admission.REBUILD_PATIENCE_S", 1e-12)
    if reason == "rebuilding":
        busy.book.epoch = "2"
        await busy.redis.set(keys.EPOCH, "2")
    elif reason == "stale":
        busy.book.put(KEY, an_identity(key_version=2))
        await admission.seed_key(busy.redis, "key1", 2, 0)
    else:
        real = time.time
        monkeypatch.setattr("api.admission.time.time", lambda: real() - 90 * 86_400)
    assert (await busy.ask()).status_code == 200


async def test_a_process_learns_the_window_before_its_first_call_not_by_a_refusal(busy: House) -> None:
    calls: list[object] = []
    send = busy.parts.redis.execute_command

    async def counted(*args: Any) -> Any:
        calls.append(args[1])
        return await send(*args)

    busy.parts.redis.execute_command = counted  # pyright: ignore[reportAttributeAccessIssue]
    answers = await asyncio.gather(*(busy.ask(max_tokens=16) for _ in range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert calls.count(PLACE.sha) == 20 and busy.book.epochs_told == 1


async def test_a_window_being_rebuilt_is_a_moment_of_maintenance(house: House) -> None:
    await house.redis.set(keys.EPOCH, "rebuilding")
    response = await house.ask()
    assert response.status_code == 503 and error(response)["code"] == "service_unavailable"
    assert response.headers["retry-after"] == "1"


async def test_a_clock_that_is_wrong_costs_a_second_look_not_a_wrong_price(
    busy: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    monkeypatch.setattr("api.admission.time.time", lambda: real() - 90 * 86_400)
    assert (await busy.ask()).status_code == 200
    monkeypatch.undo()
    assert ids.month_of(busy.parts.admission.now_ms() - busy.parts.admission._ahead_ms) == ids.month_of(
        int(real() * 1000)
    )


class TestFullQueue:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"queue_max": 1, "unclaimed_s": 30.0}

    async def test_it_is_an_overload_at_once(self, house: House) -> None:
        first = asyncio.create_task(house.ask())
        await until(lambda: house.redis.llen(keys.CALL_QUEUE), "placed")
        response = await house.ask()
        assert response.status_code == 503 and response.headers["retry-after"] in ("1", "2")
        await (await house.worker.take()).end()
        assert (await first).status_code == 200


class TestLongBodies:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"open_body_bytes": 64 * 1024, "unclaimed_s": 30.0}

    async def test_more_of_them_than_there_is_room_for_are_an_overload_until_one_ends(self, house: House) -> None:
        document = [{"role": "user", "content": "y" * 40_000}]
        first = asyncio.create_task(house.ask(messages=document))
        await until(lambda: house.redis.llen(keys.CALL_QUEUE), "placed")
        response = await house.ask(messages=document)
        assert response.status_code == 503 and response.headers["retry-after"] in ("1", "2")
        await (await house.worker.take()).end()
        assert (await first).status_code == 200
        again = asyncio.create_task(house.ask(messages=document))
        await (await house.worker.take()).end()
        assert (await again).status_code == 200


async def test_redis_out_of_reach_is_told_quickly(house: House) -> None:
    async def away(*_args: object) -> None:
        raise ConnectionError

    house.parts.redis.execute_command = away  # pyright: ignore[reportAttributeAccessIssue]
    response = await house.ask()
    assert response.status_code == 503 and "retry-after" in response.headers


async def test_a_key_with_a_past_expiry_is_refused_even_from_the_cache(
    busy: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy.book.change(KEY, expires_ms=int(time.time() * 1000) + 3_600_000)
    assert (await busy.ask()).status_code == 200
    later = SimpleNamespace(monotonic=time.monotonic, time=lambda: time.time() + 3_600)
    monkeypatch.setattr("api.auth.time", later)
    assert await refused(busy) and busy.book.asked == 1


async def test_a_key_limited_to_models_reaches_no_other(busy: House) -> None:
    busy.book.change(KEY, models=frozenset({"openai/gpt-4o-mini"}))
    assert (await busy.ask(model="openai/gpt-4o-mini")).status_code == 200
    response = await busy.ask()
    assert response.status_code == 403 and error(response)["code"] == "permission_denied"


async def test_the_dearest_candidate_decides_the_hold(house: House) -> None:
    house.book.change(KEY, fallbacks={"openai/gpt-4o-mini": [MODEL, "no/such"]})
    asked = asyncio.create_task(house.ask(model="openai/gpt-4o-mini", max_tokens=10))
    taken = await house.worker.take()
    assert taken.job.models == ["openai/gpt-4o-mini", MODEL]
    terms = house.book.catalogue.terms_at(MODEL, int(time.time() * 1000))
    output, input_ = (int(usd * terms.rate.rate) for usd in (terms.price.output_usd, terms.price.input_usd))
    assert taken.claim.hold_micro == 10 * output + taken.job.input_bound * input_
    await taken.end()
    await asked


async def test_what_is_left_shrinks_the_answer_but_not_to_a_stump(house: House) -> None:
    one = await hold_of_one(house, LEAST_CAP - 1)
    await house.redis.hset(keys.org("org1"), "bal", one * 10)
    asked = asyncio.create_task(house.ask(max_tokens=16_000))
    taken = await house.worker.take()
    assert LEAST_CAP <= taken.claim.cap < 16_000
    assert taken.claim.hold_micro <= one * 10
    await taken.end()
    await asked
    await house.redis.hset(keys.org("org1"), "bal", one)
    assert (await house.ask(max_tokens=16_000)).status_code == 403


def test_a_long_input_is_held_at_the_price_of_its_tier() -> None:
    from api.dialects.chat import Size
    from tests.api.conftest import snapshot

    catalogue = snapshot()
    tiered = next(m for m in catalogue.models.values() if catalogue.prices[m.id][0].threshold and m.input_bounds)
    price = catalogue.prices[tiered.id][0]
    assert price.threshold and price.over_output_usd
    long = quote(catalogue, [tiered], Size(price.threshold * 2, 1, 0, 0), 1, "strict", int(time.time() * 1000))
    assert long.unit_micro == int(price.over_output_usd * 1470)


async def test_tokens_per_minute_and_limits_of_a_model_bind_and_show_in_headers(house: House, busy: House) -> None:
    del busy
    house.book.change(KEY, key_tpm=1_000, org_models={MODEL: ModelLimit(rpm=2)})
    first = await house.ask(max_tokens=100)
    assert first.status_code == 200
    assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-remaining-requests"]) == ("2", "1")
    assert first.headers["x-ratelimit-limit-tokens"] == "1000"
    assert 0 < int(first.headers["x-ratelimit-remaining-tokens"]) < 900
    assert first.headers["x-ratelimit-reset-tokens"].endswith("s")
    large = await house.ask(max_tokens=1_001)
    assert (large.status_code, error(large)["code"], large.headers["x-should-retry"]) == (
        429,
        "rate_limit_exceeded",
        "false",
    )
    assert error(large)["details"]["limit"] == 1_000
    assert (await house.ask(max_tokens=100)).status_code == 200
    refused = await house.ask(max_tokens=100)
    assert (refused.status_code, error(refused)["details"]["limit"]) == (429, 2)
    other = await house.ask(model="openai/gpt-4o-mini", max_tokens=100)
    assert other.status_code == 200


PLACED_BY = {
    "key_id", "key_version", "org_id", "org_version", "prepaid", "policy", "month_limit_micro", "key_limit_micro", "org_slots",
    "key_slots", "org_rpm", "key_rpm", "org_tpm", "key_tpm", "org_models", "key_models", "spent_micro", "mask_output",
}  # fmt: skip
"""What of an identity goes into the placement alone: a newer one is simply placed."""
SHOWN = {"key_name", "org_name", "person_id", "role", "expires_ms"}
"""What no call of a model is decided by, or is looked at whenever an identity is loaded."""


def test_whatever_a_call_is_decided_by_is_decided_anew_where_it_changed() -> None:
    fields = {field.name for field in msgspec.structs.fields(Identity)}
    assert sorted([*DECISIVE, *PLACED_BY, *SHOWN]) == sorted(fields)
