"""The time of a key's last use reaches PostgreSQL, a little later, and survives its absence."""

from __future__ import annotations

import pytest

from api.last_used import LastUsed
from api.sources import SourceAway
from tests.api.conftest import until

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


async def test_a_keys_first_use_is_written_without_the_pause() -> None:
    book = Book()
    used = LastUsed(book.write, pause_s=3_600, first_s=0.01)
    used.start()
    used.note("a", 1)
    await until(lambda: book.written == [{"a": 1}], "the first use written")
    used.note("a", 2)
    used.note("b", 3)
    await until(lambda: len(book.written) == 2, "the other's first use written")
    await used.aclose()
    assert book.written == [{"a": 1}, {"a": 2, "b": 3}]


async def test_a_write_that_fails_for_whatever_reason_does_not_end_the_writing() -> None:
    book = Book()
    tries: list[dict[str, int]] = []

    async def write(used: dict[str, int]) -> None:
        tries.append(used)
        if len(tries) == 1:
            raise ValueError("a fault of ours")
        await book.write(used)

    used = LastUsed(write, pause_s=3_600, first_s=0)
    used.start()
    used.note("a", 1)
    await until(lambda: tries, "the first try")
    used.note("b", 2)
    await until(lambda: book.written, "the next write")
    await used.aclose()
    assert (tries, book.written) == ([{"a": 1}, {"b": 2}], [{"b": 2}])
