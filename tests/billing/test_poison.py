"""Whatever lies in the usage stream, settlement goes on: it books the event or moves it to the dead letters."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.wire import keys
from gateway.wire.event import Tokens
from tests.billing.books import Books
from tests.billing.events import attempt, job_id, part

FAR = (1 << 48) - 1
"""The latest moment that a job id can name, in the year 10889."""
LONG = "9" * 40 + "." + "9" * 40
"""More digits than exact arithmetic carries once two such are multiplied."""


@pytest.mark.parametrize(
    "odd",
    [
        {"job": job_id(FAR)},
        {"job": job_id(0)},
        {"parts": [part()], "won": LONG},
        {"parts": [msgspec.structs.replace(part(), input_usd=LONG, rate=LONG)], "won": "0", "micro": 0},
        {"parts": [msgspec.structs.replace(part(0, 0), won="0", rate=LONG)], "won": "0", "micro": 0,
         "tokens": Tokens(prompt=2**40, completion=3), "attempts": [attempt(model="openai/gpt-4o")]},
        {"tokens": Tokens(prompt=-(2**63))},
        {"title": "\x00"},
    ],
)  # fmt: skip
def test_an_event_beyond_all_sense_lies_with_the_dead_and_the_next_one_is_booked(
    books: Books, odd: dict[str, Any]
) -> None:
    books.append(books.event(**odd))
    good = books.event()
    books.append(good)
    assert books.settle() == 2
    assert books.redis.xlen(keys.USAGE) == 0
    [[_, dead]] = books.redis.xrange(keys.DEAD)
    assert dead[b"why"]
    assert books.one("SELECT count(*) FROM usage WHERE job = :job", job=good.job) == 1


FIELDS = st.dictionaries(
    st.sampled_from(["job", "org", "key", "out", "micro", "ep", "ev", "att"]),
    st.one_of(st.binary(max_size=40), st.integers(-(2**70), 2**70).map(lambda number: str(number).encode())),
    min_size=1,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed=FIELDS)
def test_no_field_of_an_entry_stops_settlement(books: Books, changed: dict[str, Any]) -> None:
    good = books.event()
    books.append(books.event(), **changed)
    books.append(good)
    assert books.settle() == 2
    assert books.redis.xlen(keys.USAGE) == 0
    assert books.one("SELECT count(*) FROM usage WHERE job = :job", job=good.job) == 1
