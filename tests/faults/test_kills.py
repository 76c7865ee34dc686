"""SIGKILL of each kind of process under load: nothing is lost, nothing charged twice, nothing shortened silently."""

from tests.faults.conftest import Scene
from tests.faults.load import Ask, Outcome, load

_ASKS = [
    Ask(stream=True, tokens=40, behaviour="delay=20ms"),
    Ask(stream=False, tokens=30, behaviour="delay=5ms"),
    Ask(stream=True, tokens=5, behaviour="first=200ms"),
]
_CALLERS = 24
_CHECKPOINT_TOKENS = 150
"""A checkpoint is at most 2 s old, and the slowest mock here sends a token every 20 ms; the rest is scheduling."""


def _under_load(scene: Scene, role: str) -> list[Outcome]:
    """Kills one process of `role` while calls are under way, and goes on until the replacement serves."""
    with load(scene.url, scene.key, _ASKS, _CALLERS) as running:
        running.wait_for_outcomes(_CALLERS * 2)
        pid = scene.kill(role)
        scene.replaced(role, pid)
        running.wait_for_outcomes(len(running.outcomes) + _CALLERS * 2)
        return running.finish()


def test_a_killed_worker_loses_no_job_and_charges_none_twice(scene: Scene) -> None:
    outcomes = _under_load(scene, "worker")
    books = scene.books(outcomes, tokens_behind=_CHECKPOINT_TOKENS)
    assert books.differences() == []
    assert scene.balance_matches(books)
    assert [o for o in outcomes if o.silent or o.broken] == [], "clients only lose a connection when the api dies"
    assert all(o.whole for o in outcomes if not o.ask.stream), "a JSON answer has sent nothing: it is tried again"


def test_a_killed_api_process_breaks_only_its_own_connections(scene: Scene) -> None:
    outcomes = _under_load(scene, "api")
    books = scene.books(outcomes, tokens_behind=_CHECKPOINT_TOKENS)
    assert books.differences() == []
    assert scene.balance_matches(books)
    assert [o for o in outcomes if o.silent] == []
    assert sum(o.whole for o in outcomes) >= _CALLERS * 3


def test_a_killed_billing_process_is_seen_by_nobody(scene: Scene) -> None:
    outcomes = _under_load(scene, "billing")
    books = scene.books(outcomes)
    assert books.differences() == []
    assert scene.balance_matches(books)
    assert [o for o in outcomes if not o.whole] == []
    assert len(books.rows) == len(outcomes)
