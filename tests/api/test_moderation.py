"""The moderation endpoint: asked only for those who want it, about masked text, and never passed over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from aiohttp import web

from api.guardrails.moderation import MOST_BYTES
from tests.api.conftest import KEY, House, bearer

pytestmark = pytest.mark.anyio

SECRET_KEY = "sk-moderation-0001"


@dataclass
class Endpoint:
    """Judges as it is told; ``failures`` answers come first."""

    url: str = ""
    bad: str = "나쁜 말"
    failures: list[int | bytes] = field(default_factory=list[int | bytes])
    silent: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    keys: set[str] = field(default_factory=set[str])

    async def judge(self, request: web.Request) -> web.Response:
        self.keys.add(request.headers["authorization"])
        wanted = msgspec.json.decode(await request.read())
        self.asked.append(wanted)
        if self.silent:
            await asyncio.Event().wait()
        if self.failures:
            failure = self.failures.pop(0)
            return web.Response(body=failure) if isinstance(failure, bytes) else web.Response(status=failure)
        results = [{"flagged": self.bad in text, "categories": {"hate": self.bad in text}} for text in wanted["input"]]
        return web.json_response({"results": results})


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    made = Endpoint()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/moderations", made.judge)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/moderations"
    yield made
    await runner.cleanup()


@pytest.fixture
def settings_overrides(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "moderation_url": endpoint.url, "moderation_key": SECRET_KEY, "moderation_model": "omni", "moderation_timeout_s": 30,
    }  # fmt: skip


@pytest.fixture
def judged(house: House) -> House:
    """A customer who wants prompts judged."""
    house.book.change(KEY, moderation=True)
    return house


async def ask(house: House, content: str) -> Any:
    """The answer to a prompt; a worker answers what reaches the queue."""
    client = asyncio.create_task(house.ask(messages=[{"role": "user", "content": content}]))
    taken = asyncio.create_task(house.worker.take())
    await asyncio.wait([client, taken], return_when=asyncio.FIRST_COMPLETED)
    if taken.done():
        await taken.result().end()
    answer = await client
    taken.cancel()
    return answer


async def test_nobody_is_judged_who_does_not_want_it(house: House, endpoint: Endpoint) -> None:
    assert (await ask(house, "나쁜 말")).status_code == 200
    assert endpoint.asked == []


async def test_what_is_flagged_is_forbidden_content_and_costs_nothing(judged: House, endpoint: Endpoint) -> None:
    answer = await ask(judged, "이것은 나쁜 말입니다")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (400, "forbidden_content", "forbidden_content")
    assert error["details"] == {"categories": ["hate"]}
    assert "나쁜" not in answer.text
    assert endpoint.asked == [{"input": ["이것은 나쁜 말입니다"], "model": "omni"}]
    assert endpoint.keys == {f"Bearer {SECRET_KEY}"}
    identity = judged.book.change(KEY)
    assert await judged.window(identity) == (0, 0)


async def test_the_endpoint_reads_masked_text_and_what_it_lets_pass_goes_on(judged: House, endpoint: Endpoint) -> None:
    assert (await ask(judged, "제 번호는 901010-1234567입니다")).status_code == 200
    assert endpoint.asked[0]["input"] == ["제 번호는 901010-*******입니다"]


async def test_each_legacy_prompt_is_judged(judged: House, endpoint: Endpoint) -> None:
    body = {"model": "openai/gpt-4o", "prompt": ["좋은 말", "나쁜 말"]}
    answer = await judged.client.post("/api/v1/completions", json=body, headers=bearer(KEY))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "forbidden_content")
    assert [each["input"] for each in endpoint.asked] == [["좋은 말"], ["나쁜 말"]]


async def test_a_long_prompt_is_judged_to_its_end(judged: House, endpoint: Endpoint) -> None:
    answer = await ask(judged, "가" * 400_000 + " 나쁜 말")
    assert answer.status_code == 400
    assert len(endpoint.asked) > 1


@pytest.mark.parametrize("bad_moment", [503, 429])
async def test_a_bad_moment_of_the_endpoint_goes_unseen(judged: House, endpoint: Endpoint, bad_moment: int) -> None:
    endpoint.failures = [bad_moment]
    assert (await ask(judged, "좋은 말")).status_code == 200
    assert len(endpoint.asked) == 2


@pytest.mark.parametrize(
    "failures",
    [[503, 503], [401], [b"<html>"], [b'{"results":[]}'], [b" " * (MOST_BYTES + 1)]],
    ids=["down", "our-key", "nonsense", "no-verdict", "too-large"],
)
async def test_what_could_not_be_judged_does_not_leave(
    judged: House, endpoint: Endpoint, failures: list[int | bytes]
) -> None:
    endpoint.failures = failures
    answer = await ask(judged, "좋은 말")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "service_unavailable")
    assert "retry-after" in answer.headers
    assert SECRET_KEY not in answer.text


class TestSilence:
    """An endpoint that never answers."""

    @pytest.fixture
    def settings_overrides(self, endpoint: Endpoint) -> dict[str, Any]:
        return {"moderation_url": endpoint.url, "moderation_key": SECRET_KEY, "moderation_timeout_s": 0.2}

    async def test_it_is_waited_for_no_longer_than_its_time(self, judged: House, endpoint: Endpoint) -> None:
        endpoint.silent = True
        assert (await ask(judged, "좋은 말")).status_code == 503
        assert len(endpoint.asked) <= 1, "silence is not asked again"


async def test_a_switch_that_the_endpoint_does_not_meet_keeps_prompts_from_it(
    judged: House, endpoint: Endpoint
) -> None:
    for switch in ("domestic_only", "no_training"):
        judged.book.change(KEY, domestic_only=switch == "domestic_only", no_training=switch == "no_training")
        judged.parts.identities.expire_all()
        answer = await ask(judged, "좋은 말")
        assert (answer.status_code, answer.headers["x-should-retry"]) == (503, "false")
    assert endpoint.asked == []


class TestNoEndpoint:
    """The operator took the endpoint away."""

    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {}

    async def test_who_wanted_judgement_is_not_served_without(self, judged: House) -> None:
        assert (await ask(judged, "좋은 말")).status_code == 503
