"""An organisation that is closed month by month: its calls, its lots, and the two people who close."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from billing import ledger
from billing.invoices import close
from billing.invoices.close import Stored
from billing.lock import SettlerLock
from billing.reconcile import reconcile
from billing.window import rebuild
from gateway.accounts.people import Person
from gateway.invoices import content, parties
from gateway.invoices.content import Statement
from gateway.invoices.month import month_start
from gateway.money import exact, micro_ceil, won_text
from gateway.wire.event import Part, UsageEvent
from tests.billing.books import Books
from tests.billing.events import job_id

MONTH = "202601"
"""A month that was over before this was written."""
DRAFTER = Person(str(uuid.uuid4()), "kim@operator.example", "김", operator=True, state="active")
FINALISER = Person(str(uuid.uuid4()), "lee@operator.example", "이", operator=True, state="active")
ISSUER = {
    "code": "WR", "legal_name": "주식회사 원라우터", "registration": "123-45-67891", "representative": "홍길동",
    "address": "서울특별시 강남구", "bank": "우리은행", "bank_number": "1005-000-000000", "bank_holder": "원라우터",
}  # fmt: skip
PROFILE = {"legal_name": "한빛데이터", "registration": "999-88-12349", "representative": "김하늘", "address": "성남시"}


def at(day: int, hour: int = 12, month: str = MONTH) -> dt.datetime:
    """A moment of the month in Seoul."""
    return month_start(month).replace(day=day, hour=hour)


def charge(won: str, model: str = "openai/gpt-4o") -> Part:
    """A part that costs exactly so much: one input token at a price and rate that make it so."""
    digits = exact(won)
    price = digits * 1_000_000
    if price == price.to_integral_value() or won_text(price)[::-1].find(".") <= 6:
        return part_of(price, Decimal(1), digits, model)
    raise AssertionError(f"no price makes {won} won")


def part_of(price: Decimal, rate: Decimal, won: Decimal, model: str) -> Part:
    return Part(
        model=model, price_id="p", rate_id="r", prompt=1, completion=0, input_usd=won_text(price), output_usd="1",
        rate=won_text(rate), tier="base", won=won_text(won),
    )  # fmt: skip


class Closing:
    """Books, and what finance does with them."""

    def __init__(self, books: Books) -> None:
        self.books, self.org = books, books.org
        with books.owner.begin() as connection:
            parties.set_issuer(connection, ISSUER, "test")
            parties.set_profile(connection, self.org, PROFILE, "test")
        self.open_window()

    def open_window(self) -> None:
        lock = SettlerLock(self.books.billing)
        with lock.turn(wait=True) as connection:
            assert connection is not None
            rebuild(self.books.redis, connection, 1000)
        lock.close()

    def event(self, moment: dt.datetime, *won: str, **changes: Any) -> UsageEvent:
        return self.books.event(
            job=job_id(int(moment.timestamp() * 1000)), parts=[charge(each) for each in won], **changes
        )

    def use(self, moment: dt.datetime, *won: str, **changes: Any) -> UsageEvent:
        """A call at that moment, settled."""
        event = self.event(moment, *won, **changes)
        self.books.append(event, hold=False)
        self.books.settle()
        return event

    def lot(self, won: int, method: ledger.Method, since: dt.datetime, until: dt.datetime | None = None) -> str:
        """Prepaid credit bought at that moment, as a top-up books it."""
        with self.books.owner.begin() as connection:
            made = ledger.top_up(connection, self.org, won, method, str(uuid.uuid4()), expires_at=until)
            connection.execute(
                sa.text("UPDATE lot SET created_at = :since WHERE id = :id"), {"since": since, "id": made}
            )
            connection.execute(
                sa.text(
                    "INSERT INTO window_org AS w (org, balance_micro) VALUES (:org, :micro) ON CONFLICT (org) "
                    "DO UPDATE SET balance_micro = w.balance_micro + excluded.balance_micro"
                ),
                {"org": self.org, "micro": won * 1_000_000},
            )
        self.open_window()
        return str(made)

    def billing(self, kind: str, since: dt.datetime) -> None:
        """The organisation's kind of billing from a moment on."""
        with self.books.owner.begin() as connection:
            connection.execute(
                sa.text("INSERT INTO billing_change (org, at, billing) VALUES (:org, :at, :kind)"),
                {"org": self.org, "at": since, "kind": kind},
            )
            connection.execute(
                sa.text("ALTER TABLE organisation DISABLE TRIGGER billing_changed"),
            )
            connection.execute(
                sa.text("UPDATE organisation SET billing = :kind WHERE id = :org"), {"org": self.org, "kind": kind}
            )
            connection.execute(sa.text("ALTER TABLE organisation ENABLE TRIGGER billing_changed"))

    def connection(self) -> Any:
        return self.books.billing.begin()

    def draft(self, month: str = MONTH) -> Stored:
        with self.connection() as connection:
            return close.draft(connection, self.org, month, DRAFTER)

    def review(self, month: str = MONTH) -> Stored:
        with self.connection() as connection:
            return close.review(connection, self.org, month, FINALISER)

    def finalise(self, month: str = MONTH) -> Stored:
        with self.connection() as connection:
            return close.finalise(connection, self.org, month, FINALISER)

    def close(self, month: str = MONTH) -> Stored:
        """Draft, review, final."""
        self.draft(month)
        self.review(month)
        return self.finalise(month)

    def amend(self, month: str = MONTH, code: Any = "02", why: str = "늦게 도착한 사용량") -> Stored:
        with self.connection() as connection:
            close.amend(connection, self.org, month, DRAFTER, code, why)
        self.review(month)
        return self.finalise(month)

    def violations(self) -> dict[str, int]:
        """The invariants that do not hold."""
        return {name: count for name, count in reconcile(self.books.billing, self.books.redis).items() if count}

    def balances(self) -> dict[str, Decimal]:
        """The organisation's accounts that are not zero."""
        rows = self.books.rows(
            "SELECT a.kind, b.won FROM account a JOIN account_balance b ON b.account = a.id WHERE a.org = :org",
            org=self.org,
        )
        return {row.kind: row.won.normalize() for row in rows if row.won}

    def left(self) -> list[Decimal]:
        """What the lots have left, in the order they were bought."""
        rows = self.books.rows("SELECT remaining FROM lot WHERE org = :org ORDER BY created_at, id", org=self.org)
        return [row.remaining.normalize() for row in rows]


def said(row: Stored) -> Statement:
    return content.read(row.content)


def micro(*won: str) -> int:
    return sum(micro_ceil(exact(each)) for each in won)
