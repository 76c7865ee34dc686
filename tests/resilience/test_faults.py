"""The table of docs/routing.md, row by row: the caller gets the whole answer wherever anybody can give it, in time, and
the provider that fails is left in peace."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise

import pytest

from tests.provider.log import Call
from tests.resilience.conftest import ANSWER, FIRST_TOKEN_S, LIMITS, TOTAL_S, Host, Scene, attempts

RATE_LIMIT_S = float(LIMITS["WONROUTER_RATE_LIMIT_S"])


@dataclass(frozen=True)
class Case:
    """A fault of the first host, and what the attempts are where the second one is sound.

    `waits`: seconds that lie, at least, between two calls to the host that fails; `within`: and between its first and
    last call at most.
    """

    name: str
    does: str
    seen: tuple[str, ...]
    ends: str = "second"
    waits: tuple[float, ...] = ()
    within: float = RATE_LIMIT_S


BACKOFF = (0.05, 0.1)
"""Half of the backoff at least, then half of its double: the jitter is from 0.5 to 1.5."""

BEFORE_THE_ANSWER = [
    Case("brief-429", "error=429 retry_after=1 times=1", ("rate_limited", "ok"), "first", (1.0,)),
    Case("long-429", "error=429 retry_after=30", ("rate_limited", "ok")),
    Case("again-429", "error=429 retry_after=0.2", ("rate_limited", "rate_limited", "ok"), waits=(0.2,)),
    Case("mute-429", "error=429", ("rate_limited",) * 3 + ("ok",), waits=BACKOFF),
    Case("blip-500", "error=500 times=1", ("server", "ok"), "first", BACKOFF[:1]),
    Case("blip-502", "error=502 times=1", ("server", "ok"), "first", BACKOFF[:1]),
    Case("blip-503", "error=503 times=1", ("overloaded", "ok"), "first", BACKOFF[:1]),
    Case("blip-529", "error=529 times=1", ("overloaded", "ok"), "first", BACKOFF[:1]),
    Case("down-500", "error=500", ("server", "server", "ok"), waits=BACKOFF[:1]),
    Case("down-503", "error=503", ("overloaded", "overloaded", "ok"), waits=BACKOFF[:1]),
    Case("down-529", "error=529", ("overloaded", "overloaded", "ok"), waits=BACKOFF[:1]),
    Case("reset", "cut=0", ("connect", "ok")),
    Case("our-key", "refuse=key", ("credentials", "ok")),
    Case("our-balance", "refuse=balance", ("credentials", "ok")),
    Case("gone", "error=404", ("not_found", "ok")),
]
IN_THE_ANSWER = [
    Case("cut-at-1", "cut=1", ("cut", "ok")),
    Case("cut-at-9", "cut=9", ("cut", "ok")),
    Case("cut-at-23", "cut=23", ("cut", "ok")),
    Case("stall", "stall=9", ("stalled", "ok")),
    Case("error-event", "fail_at=9", ("server", "ok")),
    Case("unreadable", "unreadable=9", ("unreadable", "ok")),
    Case("no-ending", "ending=none", ("cut", "ok")),
    Case("bare-ending", "ending=bare", ("ok",), "first"),
    Case("garbage", "garbage", ("cut", "ok")),
]
SILENT = [Case("never", "stall=0", ("slower", "ok")), Case("slow", "first=20s", ("slower", "ok"))]
EVERY = [*BEFORE_THE_ANSWER, *IN_THE_ANSWER, *SILENT]


@pytest.fixture(scope="module")
def scene(resilient: Scene) -> Scene:
    """Two hosts of its own for each row, streamed and not."""
    rows = [(case, way) for case in EVERY for way in ("sse", "json")]
    resilient.serve(
        [
            host
            for case, way in rows
            for host in (Host(f"{case.name}-{way}-first", case.does, way=way), Host(f"{case.name}-{way}-second"))
        ]
    )
    return resilient


def in_peace(calls: list[Call], case: Case) -> None:
    """No more calls than attempts, spaced as the rule wants them."""
    starts = [call.started_at for call in calls]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert all(gap >= least for gap, least in zip(gaps, case.waits, strict=False)), gaps
    assert starts[-1] - starts[0] <= case.within


@pytest.mark.parametrize("case", BEFORE_THE_ANSWER, ids=lambda case: case.name)
@pytest.mark.parametrize("way", ["sse", "json"])
def test_a_fault_before_the_answer_is_not_seen(scene: Scene, case: Case, way: str) -> None:
    hosts = [f"{case.name}-{way}-first", f"{case.name}-{way}-second"]
    said = scene.ask(hosts, stream=way == "sse")
    assert (said.status, said.content, said.complete) == (200, ANSWER, True)
    failed = len(case.seen) - 1
    ended = hosts[0] if case.ends == "first" else hosts[1]
    assert attempts(said) == [*((hosts[0], reason) for reason in case.seen[:-1]), (ended, "ok")]
    in_peace(scene.calls(hosts[0]), case)
    assert len(scene.calls(hosts[0])) == failed + (case.ends == "first")
    assert len(scene.calls(hosts[1])) == (case.ends == "second")
    assert said.usage["completion_tokens"] == 24


@pytest.mark.parametrize("case", IN_THE_ANSWER, ids=lambda case: case.name)
def test_an_answer_that_breaks_off_is_gone_on_with(scene: Scene, case: Case) -> None:
    hosts = [f"{case.name}-sse-first", f"{case.name}-sse-second"]
    said = scene.ask(hosts, stream=True)
    assert (said.status, said.content, said.complete) == (200, ANSWER, True)
    assert said.text.count("[DONE]") == 1
    if len(case.seen) > 1:
        assert attempts(said) == [(hosts[0], case.seen[0]), (hosts[1], "ok")]
    assert len(scene.calls(hosts[0])) == 1
    assert len(scene.calls(hosts[1])) == len(case.seen) - 1
    finishes = [c["finish_reason"] for event in said.events for c in event["choices"] if c["finish_reason"]]
    assert finishes == ["stop"]
    assert said.usage["completion_tokens"] == 24


@pytest.mark.parametrize(
    "case", [c for c in IN_THE_ANSWER if c.does[:3] in ("cut", "sta", "gar")], ids=lambda c: c.name
)
def test_a_whole_answer_that_breaks_off_is_asked_for_again(scene: Scene, case: Case) -> None:
    hosts = [f"{case.name}-json-first", f"{case.name}-json-second"]
    said = scene.ask(hosts, stream=False)
    assert (said.status, said.content) == (200, ANSWER)
    assert [host for host, _ in attempts(said)] == hosts
    assert len(scene.calls(hosts[0])) == 1


@pytest.mark.parametrize("case", SILENT, ids=lambda case: case.name)
def test_a_silent_host_is_overtaken_and_left(scene: Scene, case: Case) -> None:
    hosts, began = [f"{case.name}-sse-first", f"{case.name}-sse-second"], time.time()
    said = scene.ask(hosts, stream=True)
    assert (said.content, said.complete) == (ANSWER, True)
    assert sorted(attempts(said)) == sorted([(hosts[0], "slower"), (hosts[1], "ok")])
    scene.mock.log.wait_for(lambda _: all(call.ended_at for call in scene.calls(hosts[0])))
    (silent,), (sound,) = scene.calls(hosts[0]), scene.calls(hosts[1])
    assert silent.closed_early, "the slower one is closed"
    assert sound.started_at - began >= FIRST_TOKEN_S * 0.9, (
        "the limit counts from before the call has reached the silent one"
    )


@pytest.mark.parametrize("case", SILENT, ids=lambda case: case.name)
def test_a_whole_answer_that_never_comes_is_asked_for_elsewhere_after_its_total_limit(scene: Scene, case: Case) -> None:
    hosts, began = [f"{case.name}-json-first", f"{case.name}-json-second"], time.time()
    said = scene.ask(hosts, stream=False)
    assert (said.status, said.content) == (200, ANSWER)
    assert attempts(said) == [(hosts[0], "timeout"), (hosts[1], "ok")]
    (_silent,), (sound,) = scene.calls(hosts[0]), scene.calls(hosts[1])
    assert sound.started_at - began >= TOTAL_S * 0.9
