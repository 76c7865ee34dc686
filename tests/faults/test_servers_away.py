"""Redis killed, restarted, or back without its data; PostgreSQL away: what clients see meanwhile, what the books say after."""

from __future__ import annotations

import time

import httpx

from tests.faults.conftest import Scene
from tests.faults.load import Ask, Outcome, load
from tests.faults.outages import away, standing_still
from tests.operating import until

_SHORT = Ask(False, 5, "")
_BEYOND_THE_CACHE_S = 2.0
"""Longer than an identity is taken from the cache without asking PostgreSQL: half a second in this installation."""


def _status(scene: Scene) -> tuple[int, str | None]:
    """What a short call gets now: status and Retry-After. A connection of its own each."""
    answer = httpx.post(
        f"{scene.url}/chat/completions",
        json=_SHORT.body(),
        headers={"authorization": f"Bearer {scene.key}"},
        timeout=60,
    )
    return answer.status_code, answer.headers.get("retry-after")


def _served(scene: Scene, calls: int = 4) -> list[Outcome]:
    """Some short calls, over both api processes."""
    with load(scene.url, scene.key, [_SHORT], calls, once=True) as running:
        running.wait_for_outcomes(calls)
        return running.finish()


def _processes(scene: Scene) -> list[list[int]]:
    return [scene.installation.pids(role) for role in ("api", "worker", "billing")]


def _billed_as_served(scene: Scene, outcomes: list[Outcome], behind: int = 0) -> None:
    books = scene.books(outcomes, tokens_behind=behind)
    assert books.differences() == []
    assert scene.balance_matches(books)
    assert {row["id"] for row in books.rows if float(row["cost_krw"])} >= {o.id for o in outcomes if o.whole}


def test_redis_killed_and_restarted_is_503_meanwhile_and_loses_nothing(scene: Scene) -> None:
    before, processes = _served(scene), _processes(scene)
    scene.provider.gate.close()
    with load(scene.url, scene.key, [Ask(True, 30, "gate=9"), Ask(False, 30, "gate=0")], 2, once=True) as running:
        scene.provider.log.wait_for(lambda calls: len(calls) == len(before) + 2)
        with away(scene.installation, "redis"):
            status, retry_after = _status(scene)
            assert status == 503
            assert retry_after
        until(lambda: _status(scene)[0] == 200, "served again, by itself")
        scene.provider.gate.open()
        (one, other) = running.finish()
    assert _processes(scene) == processes, "none of ours was started again"
    assert all(outcome.whole or outcome.error for outcome in (one, other))
    _billed_as_served(scene, [*before, one, other], behind=30)
    assert [o for o in before if not o.whole] == []


def test_redis_back_empty_is_503_until_the_window_is_rebuilt_from_the_ledger(scene: Scene) -> None:
    before = _served(scene)
    scene.at_rest()
    left = scene.window()["balance_micro"]
    billing, rebuilt = scene.installation.pids("billing"), _rebuilds(scene)
    with standing_still(billing):
        with away(scene.installation, "redis", empty=True):
            assert _status(scene)[0] == 503
        assert {_status(scene)[0] for _ in range(4)} == {503}, "nothing is let through without a window"
        assert scene.redis.get("wr:epoch") is None
    until(lambda: _status(scene)[0] == 200, "the window rebuilt")
    until(lambda: _rebuilds(scene) > rebuilt, "the log says so")
    after = _served(scene)
    _billed_as_served(scene, [*before, *after])
    assert scene.window()["balance_micro"] < left
    assert {name: count for name, count in scene.installation.ask("reconcile").items() if count} == {}


def _rebuilds(scene: Scene) -> int:
    """How often the window has been rebuilt, by the log of the billing process."""
    logs = (scene.installation.state / "logs").glob("billing*.log")
    return sum(log.read_text().count('"window_rebuilt"') for log in logs)


def test_without_postgresql_known_keys_go_on_and_all_is_booked_after_its_return(scene: Scene) -> None:
    outcomes = _served_by_every_api_process(scene)
    scene.at_rest()
    with away(scene.installation, "postgres"):
        gone = time.monotonic()
        meanwhile = list[Outcome]()
        while time.monotonic() < gone + _BEYOND_THE_CACHE_S:
            meanwhile += _served(scene, 8)
        assert [o.error for o in meanwhile if not o.whole] == []
        assert int(str(scene.redis.xlen("wr:usage"))) == len(meanwhile), "what was used waits"
        unknown = httpx.get(f"{scene.url}/key", headers={"authorization": "Bearer sk-br-v1-" + "0" * 43}, timeout=60)
        assert unknown.status_code == 503, "nobody can say that it is wrong"
    books = scene.books([*outcomes, *meanwhile])
    assert books.differences() == []
    assert len(books.rows) == len(outcomes) + len(meanwhile)
    assert scene.balance_matches(books)


def _served_by_every_api_process(scene: Scene) -> list[Outcome]:
    """Calls until each api process has admitted one, and so knows the key. Which takes a connection is the kernel's."""
    before = _admitted(scene)
    outcomes = list[Outcome]()

    def probe() -> bool:
        outcomes.extend(_served(scene))
        return all(now > then for now, then in zip(_admitted(scene), before, strict=True))

    until(probe, "a call of each api process")
    return outcomes


def _admitted(scene: Scene) -> list[float]:
    """How many jobs each api process has placed so far."""
    pages = [
        httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
        for port in scene.installation.up["metrics_ports"]["api"]
    ]
    name = "wonrouter_api_admitted_total "
    return [float(line.removeprefix(name)) for page in pages for line in page.splitlines() if line.startswith(name)]
