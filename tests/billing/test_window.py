"""The window and the books are one: through outbox, late charges, rebuilds and surviving holds, to the micro-won."""

from __future__ import annotations

import sqlalchemy as sa

from billing import upkeep, window
from billing.lock import SettlerLock
from billing.reconcile import reconcile, window_violations
from gateway.credit import upkeep as credit
from gateway.settings import Settings
from gateway.wire import keys
from tests.billing.books import Books

SETTINGS = Settings(
    DATABASE_URL="postgresql://unused", REDIS_URL="redis://unused", secret="A" * 43 + "="  # type: ignore[call-arg]
)


def turn(books: Books) -> None:
    lock = SettlerLock(books.billing)
    with lock.turn(wait=True) as connection:
        assert connection is not None
        upkeep.turn(books.redis, connection, SETTINGS)
    lock.close()


def violations(books: Books) -> list[str]:
    with books.owner.begin() as connection:
        return window_violations(books.redis, connection)


def test_an_empty_redis_is_rebuilt_from_the_books(books: Books) -> None:
    books.request_topup(50_000, "R1")
    turn(books)
    reading = credit.read(books.redis, books.org)
    assert reading is not None and reading.balance_micro == 50_000_000_000
    epoch = books.redis.get(keys.EPOCH)
    books.redis.flushall()
    turn(books)
    assert books.redis.get(keys.EPOCH) == str(int(epoch) + 1).encode()
    assert credit.read(books.redis, books.org) == reading
    assert violations(books) == []
    assert set(reconcile(books.billing, books.redis).values()) == {0}
