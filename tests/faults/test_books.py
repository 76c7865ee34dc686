"""The comparison of the three books itself: it accepts what agrees, and names each kind of contradiction."""

from copy import deepcopy
from typing import Any

import pytest

from tests.faults.books import Books
from tests.faults.load import Ask, Outcome, load
from tests.provider.dialects.openai import answer_text
from tests.provider.log import Call
from tests.provider.server import Provider, running_provider


def _agreeing() -> Books:
    """A finished call, and one whose worker died before it learnt the provider's id."""
    attempts = [
        {"upstream_id": None, "client_request_id": "job-1-1", "billed": False},
        {"upstream_id": "up-2", "client_request_id": "job-1-2", "billed": True},
    ]
    row: dict[str, Any] = {
        "id": "j1",
        "prompt_tokens": 10,
        "completion_tokens": 3,
        "cost_krw": "0.5",
        "estimated": False,
        "attempts": attempts,
    }
    usage = {"prompt_tokens": 10, "completion_tokens": 3, "cost_krw": "0.50"}
    outcome = Outcome(Ask(tokens=3), 200, "chatcmpl-j1", answer_text(3), ended=True, usage=usage)
    lost = Call("up-1", client_request_id="job-1-1", prompt_tokens=10, completion_tokens=1, closed_early=True)
    won = Call("up-2", client_request_id="job-1-2", prompt_tokens=10, completion_tokens=3, finished=True)
    return Books([lost, won], [outcome], [row])


def test_books_that_agree_have_no_differences() -> None:
    assert _agreeing().differences() == []


_BREAKS = [
    ("twice", lambda b: b.rows.append(deepcopy(b.rows[0])), "booked 2 times"),
    ("lost row", lambda b: b.rows.clear(), "which has no row"),
    ("wrong price told", lambda b: b.outcomes[0].usage.update(cost_krw="0.6"), "was told"),
    ("wrong tokens", lambda b: b.rows[0].update(completion_tokens=2), "tokens, the provider's call"),
    ("unlisted attempt", lambda b: b.rows[0]["attempts"].pop(0), "listed as 0 attempts"),
    ("two billed", lambda b: b.rows[0]["attempts"][0].update(billed=True), "bills 2 attempts"),
    ("invented call", lambda b: b.calls.pop(1), "of which the provider knows 0"),
    ("charge for nothing", lambda b: b.rows[0]["attempts"][1].update(billed=False), "without a billed attempt"),
    ("estimate too high", lambda b: b.rows[0].update(estimated=True, completion_tokens=4), "more than the provider's"),
    ("estimate too low", lambda b: b.rows[0].update(estimated=True, completion_tokens=1), "more than a checkpoint"),
]


@pytest.mark.parametrize(("change", "message"), [(b[1], b[2]) for b in _BREAKS], ids=[b[0] for b in _BREAKS])
def test_each_contradiction_is_named(change: Any, message: str) -> None:
    books = _agreeing()
    change(books)
    assert any(message in difference for difference in books.differences())


@pytest.fixture
def mock() -> Any:
    with running_provider() as running:
        yield running


def test_callers_tell_whole_answers_from_shortened_refused_and_broken_ones(mock: Provider) -> None:
    asks = [
        Ask(True, 5, ""),
        Ask(False, 5, ""),
        Ask(False, 5, "error=503"),
        Ask(True, 5, "cut=2"),
        Ask(True, 5, "", options={"max_tokens": 3}),
    ]
    with load(mock.base_url, "k", asks, len(asks), once=True) as running:
        running.wait_for_outcomes(len(asks))
    seen = {asks.index(o.ask): o for o in running.outcomes}
    assert [seen[i].whole for i in range(5)] == [True, True, False, False, False]
    assert [seen[i].silent for i in range(5)] == [False, False, False, False, True]
    assert (seen[2].status, seen[2].error is not None, seen[3].broken != "") == (503, True, True)
