"""The time of a key's last use reaches PostgreSQL, a little later, and survives its absence."""

from __future__ import annotations

import pytest

from api.last_used import LastUsed
from api.sources import SourceAway

pytestmark = pytest.mark.anyio


class Book:
    def __init__(self) -> None:
        self.written: list[dict[str, int]] = []
        self.away = False

    async def write(self, used: dict[str, int]) -> None:
        if self.away:
            raise SourceAway("test")
        self.written.append(used)


async def test_many_uses_are_one_write_with_the_newest_times() -> None:
    book = Book()
    used = LastUsed(book.write)
    for key, at in (("a", 1), ("b", 2), ("a", 3)):
        used.note(key, at)
    await used.flush()
    await used.flush()
    assert book.written == [{"a": 3, "b": 2}]


async def test_what_could_not_be_written_is_written_later_and_never_turned_back() -> None:
    book = Book()
    used = LastUsed(book.write)
    used.note("a", 1)
    used.note("b", 1)
    book.away = True
    await used.flush()
    used.note("a", 5)
    book.away = False
    await used.flush()
    assert book.written == [{"a": 5, "b": 1}]


async def test_the_end_of_the_process_writes_what_is_left() -> None:
    book = Book()
    used = LastUsed(book.write, pause_s=3_600)
    used.start()
    used.note("a", 1)
    await used.aclose()
    assert book.written == [{"a": 1}]
