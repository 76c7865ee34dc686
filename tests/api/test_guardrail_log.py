"""What the guardrails did reaches the audit a little later, without originals, and survives PostgreSQL's absence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from api import guardrail_log
from api.guardrail_log import GuardrailLog
from api.sources import SourceAway
from gateway.accounts.guardrail_events import Event
from gateway.wire.frame import Final
from tests.api.conftest import KEY, House

pytestmark = pytest.mark.anyio


class Book:
    def __init__(self) -> None:
        self.written: list[Event] = []
        self.statements = 0
        self.away = False

    async def write(self, events: Sequence[Event]) -> None:
        if self.away:
            raise SourceAway("test")
        self.statements += 1
        self.written += events


def told(book: Book) -> list[tuple[str, str, dict[str, int]]]:
    return [(event.outcome, event.place, event.kinds) for event in book.written]


async def test_many_events_are_few_statements_and_wait_while_postgresql_is_away() -> None:
    book = Book()
    log = GuardrailLog(book.write)
    book.away = True
    for number in range(1_500):
        log.note("o", "k", str(number), "masked", "request", {"email": 1})
    await log.flush()
    book.away = False
    await log.flush()
    await log.flush()
    assert [event.call for event in book.written] == [str(number) for number in range(1_500)]
    assert book.statements == 2


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardrail_log, "MOST", 3)
    book = Book()
    log = GuardrailLog(book.write)
    for number in range(5):
        log.note("o", "k", str(number), "masked", "request", {})
    await log.aclose()
    assert [event.call for event in book.written] == ["0", "1", "2"]


async def test_requests_and_answers_are_told_apart(house: House) -> None:
    book = Book()
    house.parts.guardrail_log = GuardrailLog(book.write)
    house.book.forbidden = ["기밀"]
    house.book.change(KEY, mask_kinds={"email": "block"}, mask_output=True, words_version=1)
    client = asyncio.create_task(
        house.ask(messages=[{"role": "user", "content": "901010-1234567 M12345678 M12345678"}])
    )
    taken = await house.worker.take()
    assert set(taken.job.mask_output) == {"resident_number", "foreigner_number", "passport", "email"}
    await taken.end(Final(200, b"{}", masked={"passport": 2}))
    assert (await client).status_code == 200
    refused = await house.ask(messages=[{"role": "user", "content": "kim@example.com"}])
    assert refused.status_code == 400
    assert (await house.ask(messages=[{"role": "user", "content": "기밀"}])).status_code == 400
    assert (await house.ask(messages=[{"role": "user", "content": "901010-1234567"}], model="none")).status_code == 404
    await house.parts.guardrail_log.flush()
    assert told(book) == [
        ("masked", "request", {"resident_number": 1, "passport": 2}), ("masked", "answer", {"passport": 2}),
        ("blocked", "request", {"email": 1}), ("word", "request", {}),
    ]  # fmt: skip
    assert [bool(event.call) for event in book.written] == [True, True, False, False]
    assert b"1234567" not in msgspec.json.encode(book.written)
