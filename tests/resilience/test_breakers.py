"""Weights, breakers and recovery over two real worker processes, which share what they know."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.operating import until
from tests.provider.behaviour import parse_behaviour
from tests.provider.log import Call
from tests.resilience.conftest import ANSWER, LIMITS, MODEL, PATIENCE_S, TOKENS, Host, Scene

CALLS, AT_ONCE = 1_000, 40
WEIGHTS = {"seventy": 70, "twenty": 20, "ten": 10}
PROBE_S = float(LIMITS["WONROUTER_BREAKER_PROBE_S"])
SOUND = parse_behaviour(f"tokens={TOKENS}")


@pytest.fixture(scope="module")
def scene(resilient: Scene) -> Scene:
    """Three weighted hosts, and a pair of which one goes down."""
    resilient.serve([Host(name, "tokens=1", weight=weight) for name, weight in WEIGHTS.items()])
    resilient.serve([Host("falls", "cut=0"), Host("stands")])
    return resilient


def many(scene: Scene, hosts: Sequence[str], count: int) -> list[int]:
    """That many calls, some at once, that may go to any of the hosts; their statuses."""
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "hello"}],
        "provider": {"only": list(hosts), "allow_fallbacks": False},
    }

    async def everyone() -> list[int]:
        places = asyncio.Semaphore(AT_ONCE)
        # On one loop: between threads, httpx's pool may close a connection that another thread has just been given.
        async with httpx.AsyncClient(timeout=PATIENCE_S, headers={"X-API-Key": scene.key}) as client:

            async def one() -> int:
                async with places:
                    return (await client.post(scene.url, json=body)).status_code

            return await asyncio.gather(*[one() for _ in range(count)])

    return asyncio.run(everyone())


def workers_of(scene: Scene, calls: Sequence[Call]) -> Counter[int]:
    """How many of the calls came from which worker process: whose sockets the other ends are."""
    ports = {call.peer_port for call in calls}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port_of = {f"socket:[{f[9]}]": int(f[1].partition(":")[2], 16) for f in lines}
    found: dict[int, int] = {}
    for pid in scene.installation.pids("worker"):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                port = port_of.get(str(link.readlink()), 0)
            except OSError:
                continue
            if port in ports:
                found[port] = pid
    return Counter(found[call.peer_port] for call in calls if call.peer_port in found)


def test_two_workers_together_keep_the_weights_within_one_percent(scene: Scene) -> None:
    assert Counter(many(scene, list(WEIGHTS), CALLS)) == {200: CALLS}
    shares = {name: len(scene.calls(name)) for name in WEIGHTS}
    assert sum(shares.values()) == CALLS
    assert all(abs(shares[name] - CALLS * weight // 100) <= CALLS // 100 for name, weight in WEIGHTS.items()), shares
    by_worker = workers_of(scene, [call for name in WEIGHTS for call in scene.calls(name)])
    assert len(by_worker) == 2 and min(by_worker.values()) >= CALLS // 10, by_worker


def state_of(scene: Scene, name: str) -> dict[str, Any]:
    """The host's health as operators see it."""
    listed: list[dict[str, Any]] = scene.installation.ask("deployments", "list")
    return next(row["health"] for row in listed if row["provider"] == name)


def test_a_host_that_is_down_gets_probes_alone_and_is_back_with_the_first_good_one(scene: Scene) -> None:
    pair = ["falls", "stands"]

    def falls() -> bool:
        assert set(many(scene, pair, 10)) == {200}
        return state_of(scene, "falls")["state"] == "open"

    until(falls, "the breaker to open")

    before, began = len(scene.calls("falls")), time.time()
    while time.time() - began < 4 * PROBE_S or len(scene.calls("falls")) == before:
        assert set(many(scene, pair, 25)) == {200}
    probes = len(scene.calls("falls")) - before
    assert probes <= (time.time() - began) / PROBE_S + 1, "probes alone, from both workers together"

    scene.mock.models[Host("falls").upstream] = SOUND
    well_at = time.time()

    def answered() -> bool:
        return any(call.finished for call in scene.calls("falls"))

    while not answered():
        due = time.time() - well_at > PROBE_S + 0.002  # Redis counts whole milliseconds
        assert set(many(scene, pair, 4)) == {200}
        assert answered() or not due, "of the first calls after the interval one is the probe"
    until(lambda: state_of(scene, "falls")["state"] == "closed", "the good probe to close the breaker")
    shares = [len(scene.calls(name)) for name in pair]
    assert set(many(scene, pair, 40)) == {200}
    gained = [len(scene.calls(name)) - share for name, share in zip(pair, shares, strict=True)]
    assert abs(gained[0] - gained[1]) <= 2, gained


def test_where_the_only_host_is_down_a_call_waits_for_its_recovery(scene: Scene) -> None:
    scene.serve([Host("alone", "cut=0")])
    until(lambda: many(scene, ["alone"], 5) and state_of(scene, "alone")["state"] == "open", "the breaker to open")
    scene.mock.models[Host("alone").upstream] = SOUND
    said = scene.ask(["alone"], stream=True)
    assert (said.status, said.content, said.complete) == (200, ANSWER, True)
