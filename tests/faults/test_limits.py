"""Limits hold across three api processes, keys change on all of them, and people are told: with real processes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.billing.alerts.receiver import Receiver, receiving
from tests.faults.conftest import Scene, open_scene
from tests.faults.load import Ask, load
from tests.operating import UNHURRIED, Installation, installed, until
from tests.provider.server import Provider

_AT_ONCE, _RPM = 1_000, 100
_ASK: Any = [{"role": "user", "content": "Where is the harbour? [[mock tokens=5]]"}]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Three api processes on one port; webhooks may lead to this machine."""
    state = tmp_path_factory.mktemp("three") / "state"
    with installed(state, "--api", "3", env={**UNHURRIED, "WONROUTER_ALLOW_PRIVATE_WEBHOOKS": "1"}) as installation:
        yield installation


@pytest.fixture
def scene(three: Installation, fault_provider: Provider) -> Scene:
    return open_scene(three, fault_provider, 1_000_000, "optimistic")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def test_of_a_thousand_requests_at_once_exactly_a_hundred_pass_a_limit_of_a_hundred(scene: Scene) -> None:
    installation = scene.installation
    assert len(installation.pids("api")) == 3
    redis: Any = scene.redis
    assert len(redis.pubsub_channels("wr:reply:*")) == 3
    key = installation.key(scene.organisation, "limited", rpm=_RPM)
    for _ in range(12):  # the key is known on every process, as one is that has served before
        assert httpx.get(f"{scene.url}/key", headers={"X-API-Key": key}, timeout=60).status_code == 200
    began = time.monotonic()
    with load(scene.url, key, [Ask(False, 3, "")], _AT_ONCE, once=True, patient=True) as running:
        running.wait_for_outcomes(_AT_ONCE, 55)
    outcomes = running.outcomes
    assert time.monotonic() - began < 60  # no place has become free again
    told = Counter((o.status, o.error and o.error["code"]) for o in outcomes)
    assert told == {(200, None): _RPM, (429, "rate_limit_exceeded"): _AT_ONCE - _RPM}
    refused = [o.error for o in outcomes if o.status == 429]
    assert all(error and 1 <= error["details"]["retry_after"] <= 60 for error in refused)
    assert len(scene.books(outcomes).rows) == _RPM


def test_an_sdk_that_asks_twice_with_one_idempotency_key_is_charged_once(scene: Scene) -> None:
    key = uuid.uuid4().hex

    def asked(stream: bool) -> str:
        with openai.OpenAI(base_url=scene.url, api_key=scene.key, max_retries=0, timeout=60) as client:
            headers = {"Idempotency-Key": f"{key}-{stream}"}
            ask = client.chat.completions.create
            if not stream:
                made = ask(model="openai/gpt-4o", messages=_ASK, extra_headers=headers)
                return f"{made.id} {made.choices[0].message.content}"
            chunks = ask(model="openai/gpt-4o", messages=_ASK, extra_headers=headers, stream=True)
            return "".join(f"{c.id} {c.choices[0].delta.content or ''}" for c in chunks if c.choices)

    for stream in (False, True):
        assert asked(stream) == asked(stream) == asked(stream)
    scene.at_rest()
    assert len(scene.rows()) == 2


def test_duplicates_at_once_over_three_processes_are_one_call(scene: Scene) -> None:
    async def together() -> list[int]:
        async with openai.AsyncOpenAI(base_url=scene.url, api_key=scene.key, max_retries=8, timeout=60) as client:
            headers = {"Idempotency-Key": uuid.uuid4().hex}
            create = client.chat.completions.create
            made = await asyncio.gather(
                *(create(model="openai/gpt-4o", messages=_ASK, extra_headers=headers) for _ in range(30))
            )
            return [len({answer.id for answer in made}), len(made)]

    assert asyncio.run(together()) == [1, 30]  # who was told 409 came again, as the SDK does by itself
    scene.at_rest()
    assert len(scene.rows()) == 1


def test_a_key_tells_its_last_use_and_stops_everywhere_within_a_second(scene: Scene) -> None:
    installation = scene.installation
    key = installation.key(scene.organisation, "short-lived")
    headers = {"Authorization": f"Bearer {key}"}

    def statuses() -> set[int]:  # a connection of its own each: over all processes
        return {httpx.get(f"{scene.url}/key", headers=headers, timeout=60).status_code for _ in range(12)}

    def listed() -> dict[str, Any]:
        keys = installation.ask("key", "list", "--org", scene.organisation)
        return next(each for each in keys if each["name"] == "short-lived")

    assert listed()["last_used_at"] is None
    assert statuses() == {200}
    until(lambda: listed()["last_used_at"], "the key's last use", seconds=5)
    installation.run("key", "set", listed()["id"], "--deactivated")
    until(lambda: statuses() == {401}, "refused everywhere", seconds=5)
    installation.run("key", "set", listed()["id"], "--active")
    until(lambda: statuses() == {200}, "works again", seconds=5)


def test_a_limit_that_runs_out_is_told_to_the_webhook_once(scene: Scene, receiver: Receiver) -> None:
    installation = scene.installation
    key = installation.ask("key", "create", "--org", scene.organisation, "--name", "small", "--limit-krw", "5")
    made = installation.ask("alerts", "set", scene.organisation, "--webhook", receiver.url, "--no-mail-people")

    def call() -> int:
        body = {"model": "openai/gpt-4o", "messages": _ASK, "max_tokens": 20}
        headers = {"Authorization": f"Bearer {key['key']}"}
        return httpx.post(f"{scene.url}/chat/completions", json=body, headers=headers, timeout=60).status_code

    until(lambda: call() == 403, "the key's credit used up")

    def percents() -> list[int]:
        return [json.loads(body)["percent"] for _, body in receiver.received]

    until(lambda: 100 in percents(), "the webhook called at 100 %")
    assert percents() == sorted(set(percents()))  # each once, in order
    headers, body = receiver.received[-1]
    moment, _, given = headers["wonrouter-signature"].removeprefix("t=").partition(",v1=")
    secret = made["webhook_secret"].encode()
    assert given == hmac.new(secret, f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    assert json.loads(body)["key"]["id"] == key["id"]

    def sent() -> list[dict[str, Any]]:
        return installation.ask("alerts", "deliveries", scene.organisation)

    until(lambda: all(each["state"] != "waiting" for each in sent()), "the receiver's answers written down")
    assert {(each["state"], each["attempts"][0]["status"]) for each in sent()} == {("delivered", 204)}
