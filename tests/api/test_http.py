"""What stands around the calls: models, receipts, errors, probes, limits on bodies."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import openai
import pytest

from api.routes import account
from gateway.wire import ids, keys
from gateway.wire.frame import Final
from tests.api.conftest import KEY, MODEL, House, bearer, body, snapshot, until
from tests.api.test_admission import error

pytestmark = pytest.mark.anyio


async def get(house: House, path: str) -> Any:
    return await house.client.get(path, headers=bearer(KEY))


@pytest.mark.parametrize("base", ["/api/v1", "/v1"])
async def test_the_list_has_what_sdk_and_documentation_read(house: House, base: str) -> None:
    listed = (await get(house, f"{base}/models")).json()
    assert listed["object"] == "list" and listed["exchange_rate"] == 1470.0
    assert listed["data"][0].keys() == {"id", "object", "created", "owned_by"}
    gpt = next(model for model in listed["models"] if model["id"] == MODEL)
    assert gpt["input_price_per_1m_krw"] == gpt["input_price_per_1m_usd"] * 1470
    assert gpt["available"] is True


@pytest.mark.parametrize("name", ["openai/gpt-4o", "openai%2Fgpt-4o"])
async def test_one_model_is_found_by_either_spelling(house: House, name: str) -> None:
    response = await get(house, f"/api/v1/models/{name}")
    assert response.status_code == 200 and response.json()["id"] == MODEL


async def test_bare_names_are_known_on_one_surface_only(house: House) -> None:
    assert (await get(house, "/v1/models/gpt-4o")).json()["id"] == MODEL
    response = await get(house, "/api/v1/models/gpt-4o")
    assert response.status_code == 404
    assert error(response)["message"] == "Model not found: gpt-4o"
    assert MODEL in error(response)["details"]["suggestions"]


async def test_an_unknown_model_is_named_in_the_answer(house: House) -> None:
    response = await house.ask(model="gpt-5")
    assert response.status_code == 404
    assert error(response)["code"] == error(response)["type"] == "model_not_found"
    assert error(response)["message"] == "Model not found: gpt-5"


async def test_a_model_without_a_deployment_says_what_to_configure(house: House) -> None:
    house.book.catalogue = snapshot(frozenset())
    house.parts.catalogue.want()
    await until(lambda: not house.parts.catalogue.snapshot.available, "loaded")
    response = await house.ask()
    assert response.status_code == 503
    assert MODEL in error(response)["message"] and "deployments apply" in error(response)["message"]
    assert (await get(house, "/api/v1/models")).json()["models"][0]["available"] is False


@pytest.mark.parametrize(("path", "method", "status"), [
    ("/api/v1/nothing", "GET", 404), ("/", "GET", 404), ("/v1/chat/completions", "GET", 405), ("/api/v1/models", "DELETE", 405),
])  # fmt: skip
async def test_unknown_paths_and_methods_answer_in_the_same_shape(
    house: House, path: str, method: str, status: int
) -> None:
    response = await house.client.request(method, path, headers=bearer(KEY))
    assert response.status_code == status
    assert error(response).keys() >= {"code", "message", "type"}
    assert response.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/api/v1/chat/completions", "/v1/completions"])
async def test_options_say_what_a_call_may_use(house: House, path: str) -> None:
    response = await house.client.options(path)
    assert (response.status_code, response.headers["allow"]) == (204, "OPTIONS, POST")


async def test_an_unexpected_failure_shows_nothing_of_itself(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret internals")

    monkeypatch.setattr(house.parts.admission, "admit", broken)
    response = await house.ask()
    assert response.status_code == 500
    assert response.json() == {
        "error": {"code": "internal_error", "message": "Internal error", "type": "internal_error"}
    }


class TestSmallBodies:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"max_body_bytes": 2000}

    async def test_a_large_body_is_refused_with_and_without_a_length(self, house: House) -> None:
        big = msgspec.json.encode(body(user="x" * 3000))

        async def pieces() -> Any:
            yield big

        for content in (big, pieces()):
            response = await house.client.post("/api/v1/chat/completions", content=content, headers=bearer(KEY))
            assert response.status_code == 413
            assert error(response)["code"] == "request_too_large"

    async def test_deep_json_is_refused_before_it_is_parsed(self, house: House) -> None:
        raw = msgspec.json.encode(body())[:-1] + b',"x":' + b"[" * 70 + b"]" * 70 + b"}"
        response = await house.client.post("/v1/chat/completions", content=raw, headers=bearer(KEY))
        assert response.status_code == 400 and "64 levels" in error(response)["message"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"model": "\xff"}',
        b'{"model":"a","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
    ],
)
async def test_what_is_not_a_json_object_is_a_bad_request(house: House, raw: bytes) -> None:
    response = await house.client.post("/v1/chat/completions", content=raw, headers=bearer(KEY))
    assert response.status_code == 400 and error(response)["type"] == "invalid_request_error"


async def test_probes(house: House) -> None:
    assert (await house.client.get("/healthz")).json() == {"status": "ok"}
    assert (await house.client.get("/readyz")).status_code == 200
    house.parts.draining = True
    response = await house.client.get("/readyz")
    assert response.status_code == 503 and response.headers["connection"] == "close"


async def test_metrics_count_by_surface_and_status(busy: House) -> None:
    await busy.ask("/v1")
    await busy.ask("/v1", model="no/such")
    text = (await busy.client.get("/metrics")).text
    assert 'wonrouter_api_requests_total{endpoint="chat",status="200",surface="krouter"}' in text
    assert 'wonrouter_api_requests_total{endpoint="chat",status="404",surface="krouter"}' in text
    assert "no/such" not in text
    assert "wonrouter_api_open_relays 0.0" in text


async def test_credits_and_key_show_the_window_exactly(house: House) -> None:
    await house.redis.hset(keys.org("org1"), mapping={"bal": 99_989_875_001, "held": 1_500_000})
    credits_now = (await get(house, "/api/v1/credits")).json()["data"]
    assert credits_now["balance_krw"] == "99989.875001"
    assert credits_now["held_krw"] == "1.5" and credits_now["available_krw"] == "99988.375001"
    house.book.change(KEY, key_limit_micro=5_000_000)
    house.parts.identities.expire_all()
    await house.redis.hset(keys.key("key1"), mapping={"spent": 1_250_000})
    key = (await get(house, "/v1/key")).json()["data"]
    assert (key["id"], key["spent_krw"], key["limit_krw"], key["remaining_krw"]) == ("key1", "1.25", "5", "3.75")


async def test_a_receipt_is_waited_for_and_only_ones_own_is_shown(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "SETTLED_WITHIN_S", 60.0)
    job = f"{house.parts.admission.now_ms():012x}7abc8{'0' * 15}"
    house.book.receipts["org2", job] = {"id": "theirs"}
    asked = asyncio.create_task(get(house, f"/api/v1/generation?id=chatcmpl-{job}"))
    await until(lambda: house.book.sought.count(("org1", job)) > 1, "looked for again")
    house.book.receipts["org1", job] = {"id": ids.public(job), "cost_krw": "0.1"}
    response = await asked
    assert response.status_code == 200 and response.json()["data"]["cost_krw"] == "0.1"
    old = f"{1:012x}7abc8{'0' * 15}"
    assert (await get(house, f"/api/v1/generation?id={old}")).status_code == 404
    assert (await get(house, "/api/v1/generation?id=x")).status_code == 400


async def test_the_python_sdk_talks_to_both_surfaces(house: House) -> None:
    task = asyncio.create_task(finish_some(house))
    for base in ("/api/v1", "/v1"):
        async with openai.AsyncOpenAI(
            api_key=KEY, base_url=f"http://127.0.0.1:{house.port}{base}", max_retries=0
        ) as sdk:
            made = await sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
            assert made.choices[0].message.content == "hi"
            stream = await sdk.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "x"}], stream=True
            )
            assert [chunk.choices[0].delta.content async for chunk in stream] == ["a", "b"]
            raw = await sdk.chat.completions.with_raw_response.create(
                model=MODEL, messages=[{"role": "user", "content": "x"}]
            )
            assert len(raw.headers["x-request-id"]) == 32
            assert MODEL in [model.id async for model in sdk.models.list()]
            assert (await sdk.models.retrieve(MODEL)).id == MODEL
            with pytest.raises(openai.NotFoundError):
                await sdk.models.retrieve("no/such")
            with pytest.raises(openai.AuthenticationError):
                await sdk.with_options(api_key="sk-br-v1-wrong").models.list()
            await house.redis.hset(keys.org("org1"), "bal", 0)
            with pytest.raises(openai.APIStatusError) as refused:
                await sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
            assert refused.value.status_code == (403 if base == "/api/v1" else 402)
            await house.redis.hset(keys.org("org1"), "bal", 10**9)
    task.cancel()


async def test_the_sdk_raises_the_error_that_ends_a_stream(house: House) -> None:
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{house.port}/v1", max_retries=0) as sdk:
        asked = asyncio.create_task(
            sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}], stream=True)
        )
        taken = await house.worker.take()
        await taken.say("a")
        stream = await asked
        await taken.end(Final(502, b'{"error":{"message":"gone","type":"provider_error"}}'))
        with pytest.raises(openai.APIError, match="gone"):
            async for _ in stream:
                pass


async def finish_some(house: House) -> None:
    while True:
        taken = await house.worker.take()
        if taken.job.stream:
            await taken.say("a", "b")
        await taken.end()
