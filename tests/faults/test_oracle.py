"""The judgement of `python -m tests.faults run`: it accepts books that agree, and names each kind of contradiction."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.faults.ledger import Charge
from tests.faults.oracle import Oracle, price
from tests.faults.schedule import Fault
from tests.faults.traffic import Seen, Want
from tests.provider.dialects.openai import answer_text
from tests.provider.log import Call


def _agreeing() -> Oracle:
    """A whole answer, and one whose client left."""
    whole = Seen(
        Want("a", "stream short", True, 3), 0, "a.0", 10.0, 11.0, 200, "chatcmpl-j1", answer_text(3), ended=True
    )
    whole.usage = {"prompt_tokens": 10, "completion_tokens": 3, "cost_krw": str(price(10, 3))}
    left = Seen(Want("b", "stream left", True, 9), 0, "b.0", 10.0, 11.0, 200, "chatcmpl-j2", answer_text(2), left=True)
    calls = [
        Call("u1", client_request_id="j1.1.1", tag="a", prompt_tokens=10, completion_tokens=3, finished=True),
        Call("u2", client_request_id="j2.1.1", tag="b", prompt_tokens=10, completion_tokens=5, closed_early=True),
    ]
    return Oracle(calls, [whole, left], [_charge("j1", "a.0", 3), _charge("j2", "b.0", 4)], [])


def _charge(job: str, title: str, completion: int) -> Charge:
    won = price(10, completion)
    attempts = [{"client_request_id": f"{job}.1.1"}]
    return Charge(
        job, "org", title, "complete", None, False, 10, completion, won, int(won * 1_000_000), Decimal(0), attempts, won, 1
    )  # fmt: skip


def test_books_that_agree_have_no_differences() -> None:
    oracle = _agreeing()
    assert oracle.differences() == []
    assert (oracle.given_away, oracle.not_delivered) == (0, 2)


def _set(**values: Any) -> Any:
    return lambda oracle: [object.__setattr__(oracle.charges[0], name, value) for name, value in values.items()]


_BREAKS = [
    ("twice", lambda o: o.charges.append(o.charges[0]), "is booked 2 times"),
    ("lost", lambda o: o.charges.clear(), "which has no row"),
    ("too many tokens", _set(completion=4, won=price(10, 4), ledger=price(10, 4)), "served 10+3"),
    ("wrong price", _set(won=Decimal(1), ledger=Decimal(1)), "for tokens that cost"),
    ("ledger differs", _set(ledger=Decimal(1)), "ledger 1 in"),
    ("nothing served", lambda o: o._served.clear(), "nothing was served"),
    ("unlisted call", lambda o: o.calls.append(Call("u9", client_request_id="j9.1.1", tag="a")), "listed 0 times"),
    ("hung", lambda o: setattr(o.seen[0], "hung", True), "is hung"),
    ("silent", lambda o: setattr(o.seen[0], "text", "aaa "), "is silent"),
    ("lost connection", lambda o: o.seen[1].__dict__.update(left=False, broken="reset"), "no api process died"),
    ("refused and charged", lambda o: o.seen[1].__dict__.update(left=False, status=503, error={}), "was told 503"),
    ("a stranger's", _set(title="z.0"), "which nobody asked"),
]


@pytest.mark.parametrize(("change", "message"), [(b[1], b[2]) for b in _BREAKS], ids=[b[0] for b in _BREAKS])
def test_each_contradiction_is_named(change: Any, message: str) -> None:
    oracle = _agreeing()
    change(oracle)
    assert any(message in difference for difference in oracle.differences())


def test_a_connection_may_end_with_its_process() -> None:
    oracle = _agreeing()
    oracle.seen[1].__dict__.update(left=False, broken="reset")
    oracle.faults.append(Fault("api", "killed", 10.5))
    assert oracle.differences() == []


@pytest.mark.parametrize(("gone", "lawful"), [(10.2, True), (9.8, False)])
def test_a_connection_may_end_with_its_process_until_that_is_gone(gone: float, lawful: bool) -> None:
    oracle = _agreeing()
    oracle.seen[1].__dict__.update(left=False, broken="reset")
    oracle.faults.append(Fault("api", "killed", 9.5, until=gone))
    assert (oracle.differences() == []) == lawful
