"""What operators list and customers are shown of a settled call."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal

import pytest

from billing.usage import usage_lines
from gateway import receipts
from gateway.db import connect
from gateway.wire import ids
from tests.billing.books import Books
from tests.billing.events import attempt, job_id, part


@pytest.mark.anyio
async def test_a_receipt_lets_the_charge_be_worked_out_by_hand(books: Books, role_url: Callable[[str], str]) -> None:
    parts = [part(1234, 100, "0.075", "0.30", "1400.60"), part(0, 467, "0.1", "0.40", "1400.60", model="z/b")]
    event = books.event(parts=parts, attempts=[attempt(1, billed=False, reason="429", status=429), attempt(2)])
    books.append(event)
    books.settle()
    engine = connect.async_engine(role_url("wonrouter_api"))
    shown = await receipts.receipt(engine, event.job, books.org)
    nobody = await receipts.receipt(engine, event.job, str(books.key))
    unknown = await receipts.receipt(engine, job_id(), books.org)
    used = await receipts.credits_of(engine, books.org)
    await engine.dispose()
    assert shown is not None and nobody is None and unknown is None
    by_hand = sum(
        (c["prompt_tokens"] * Decimal(c["input_usd_per_1m"]) + c["completion_tokens"] * Decimal(c["output_usd_per_1m"]))
        * Decimal(c["krw_per_usd"]) / 1_000_000
        for c in shown["charges"]
    )  # fmt: skip
    assert shown["cost_krw"] == event.won and by_hand == Decimal(event.won)
    assert [(a["response_id"], a["billed"]) for a in shown["attempts"]] == [("up-1-1", False), ("up-1-2", True)]
    assert used == {"balance": "-" + event.won, "granted": "0", "used": event.won}
    assert json.loads(json.dumps(shown)) == shown


def test_usage_is_listed_from_its_moment_on(books: Books) -> None:
    moments = [dt.datetime(2026, 10, 31, 14, 59, 59, tzinfo=dt.UTC), dt.datetime(2026, 10, 31, 15, 0, tzinfo=dt.UTC)]
    events = [books.event(job=job_id(int(moment.timestamp() * 1000))) for moment in moments]
    for event in events:
        books.append(event)
    books.settle()
    everything = list(usage_lines(books.owner, org=books.org))
    assert [(line["id"], line["month"]) for line in everything] == [
        (ids.public(events[0].job), "202610"),
        (ids.public(events[1].job), "202611"),
    ]
    assert [line["month"] for line in usage_lines(books.owner, org=books.org, since=moments[1])] == ["202611"]
    assert [line["month"] for line in usage_lines(books.owner, org=books.org, until=moments[1])] == ["202610"]
    assert [line["cost_krw"] for line in usage_lines(books.owner, org=books.org, month="202611")] == ["10.125"]
    assert everything[0]["attempts"][0]["upstream_id"] == "up-1-1" and everything[0]["attempts"][0]["billed"] is True
