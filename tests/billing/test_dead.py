"""Poison events: seen, booked after all, or discarded, with the window right each time."""

from __future__ import annotations

import pytest

from billing import dead
from billing.lock import SettlerLock
from billing.reconcile import reconcile
from billing.upkeep import relay
from billing.window import rebuild
from gateway.credit import upkeep
from gateway.wire import ids, keys
from tests.billing.books import Books


@pytest.fixture
def lock(books: Books) -> SettlerLock:
    made = SettlerLock(books.billing)
    with made.turn(wait=True) as connection:
        assert connection is not None
        rebuild(books.redis, connection, 1000)
    return made


def poison(books: Books) -> str:
    """An event that says another micro-won than it costs, charged to the window as a call's end does it."""
    event = books.event()
    wrong = event.micro + 1
    books.append(event, micro=wrong)
    books.redis.hincrby(keys.org(books.org), "bal", -wrong)
    books.redis.hincrby(keys.key(books.key), "spent", wrong)
    books.redis.hincrby(keys.org(books.org), f"m:{ids.month_of(ids.milliseconds(event.job))}", wrong)
    books.settle()
    [letter] = dead.listed(books.redis)
    assert (letter["org"], letter["micro"], "micro-won" in letter["why"]) == (books.org, wrong, True)
    return str(letter["entry"])


def broken(books: Books) -> dict[str, int]:
    return {name: count for name, count in reconcile(books.billing, books.redis).items() if count}


def test_a_replayed_event_comes_back_until_its_cause_is_mended(books: Books, lock: SettlerLock) -> None:
    entry = poison(books)
    with pytest.raises(dead.DeadLetterError):
        dead.replay(books.redis, lock, "1-1")
    assert dead.replay(books.redis, lock, entry) == 1
    assert books.redis.xlen(keys.DEAD) == 0
    books.settle()
    assert len(list(dead.listed(books.redis))) == 1
    assert dead.replay(books.redis, lock, None) == 1
    lock.close()


def test_an_event_that_can_be_booked_again_is_booked_once(books: Books, lock: SettlerLock) -> None:
    event = books.event()
    books.append(event, hold=False)
    books.settle()
    fields = {"job": event.job, "why": "a past fault"} | {"org": event.org, "key": event.key, "out": "posted"}
    from gateway.wire.event import encode_event

    books.redis.xadd(
        keys.DEAD, fields | {"micro": event.micro, "ep": 1, "hold": 0, "ev": encode_event(event), "att": b""}
    )
    assert dead.replay(books.redis, lock, None) == 1
    books.settle()
    assert books.one("SELECT count(*) FROM usage WHERE org = :org", org=books.org) == 1
    assert books.redis.xlen(keys.DEAD) == books.redis.xlen(keys.USAGE) == 0
    lock.close()


def test_a_discarded_event_is_kept_and_given_back_to_the_window_once(books: Books, lock: SettlerLock) -> None:
    entry = poison(books)
    before = upkeep.read(books.redis, books.org)
    assert before is not None and before.balance_micro < 0
    dead.discard(books.redis, lock, entry, "the worker's fault", "operator")
    with lock.turn(wait=True) as connection:
        assert connection is not None
        relay(books.redis, connection)
    after = upkeep.read(books.redis, books.org)
    assert after is not None and after.balance_micro == 0
    assert books.one("SELECT reason FROM discarded_usage WHERE org = :org", org=books.org) == "the worker's fault"
    assert broken(books) == {}
    lock.close()
