"""Payments against invoices, and invoices that nobody paid in time. Whole won, VAT included."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection, text

from billing import ledger
from billing.invoices.close import CloseError, paid
from gateway.accounts.people import Person
from gateway.db.tables.accounts import audit_log


@dataclass(frozen=True, slots=True)
class Booked:
    """A payment, and how its invoice stands: ``left`` is still to be paid, below zero what was paid too much. An
    ``amount`` below zero was given back. ``new`` is False for one booked before."""

    number: str
    amount: int
    left: int
    state: str
    new: bool


def book_payment(
    connection: Connection, number: str, amount: int, on: dt.date, reference: str, person: Person
) -> Booked:
    """Books a payment once per ``reference`` of the invoice. Raises ``CloseError``: unknown, not issued, or too much.

    A payment to a document that was amended since counts for the month as a whole. ``amount`` below zero is money given
    back, or a payment that was booked by mistake: at most what was received.
    """
    row = connection.execute(
        text("SELECT id, org, month FROM invoice WHERE number = :number FOR UPDATE"), {"number": number}
    ).one_or_none()
    if row is None:
        raise CloseError(f"there is no invoice {number}")
    org = str(row.org)
    latest = connection.execute(
        text(
            "SELECT id, state, due, number FROM invoice WHERE org = :org AND month = :month AND finalised_at IS NOT NULL "
            "ORDER BY amendment DESC LIMIT 1 FOR UPDATE"
        ),
        {"org": row.org, "month": row.month},
    ).one()
    known = connection.execute(
        text("SELECT amount FROM payment WHERE invoice = :invoice AND reference = :reference"),
        {"invoice": row.id, "reference": reference},
    ).scalar_one_or_none()
    left = latest.due - paid(connection, org, row.month)
    if known is not None:
        if known != amount:
            raise CloseError(f"reference {reference} stands for {known} won already")
        return Booked(number, amount, left, latest.state, new=False)
    _possible(latest.number, latest.state, amount, left, latest.due - left)
    connection.execute(
        text(
            "INSERT INTO payment (invoice, amount, paid_on, reference, booked_by) "
            "VALUES (:invoice, :amount, :on, :reference, :who)"
        ),
        {"invoice": row.id, "amount": amount, "on": on, "reference": reference, "who": person.id},
    )
    sides = {"cash_clearing": Decimal(amount), "receivable": Decimal(-amount)}
    ledger.post(connection, "payment", org, f"{number}/{reference}", sides, memo=number)
    state = latest.state
    if amount == left or (state == "paid" and amount < left):
        # what was given back is owed again; the daily look at due dates says whether it is overdue
        state = "paid" if amount >= left else "issued"
        connection.execute(text("UPDATE invoice SET state = :state WHERE id = :id"), {"state": state, "id": latest.id})
    details = {"amount": amount, "reference": reference, "paid_on": on.isoformat()}
    connection.execute(
        audit_log.insert().values(
            actor=person.id, action="payment.book", subject=number, org=row.org, details=details
        )
    )  # fmt: skip
    return Booked(number, amount, left - amount, state, new=True)


def _possible(number: str, state: str, amount: int, left: int, received: int) -> None:
    if amount > 0:
        if state not in ("issued", "overdue"):
            raise CloseError(f"{number} is {state}: nothing is to be paid")
        if amount > left:
            raise CloseError(f"{left} won are left to pay on {number}, not {amount}")
    elif state not in ("issued", "overdue", "paid") or not 0 < -amount <= received:
        raise CloseError(f"{received} won were received on {number}, which is {state}: {-amount} cannot be given back")


def mark_overdue(connection: Connection, today: dt.date) -> list[str]:
    """Invoices whose due date (a business day in Seoul) has passed unpaid. Returns the numbers that became overdue."""
    rows = connection.execute(
        text("UPDATE invoice SET state = 'overdue' WHERE state = 'issued' AND due_on < :today RETURNING number"),
        {"today": today},
    )
    return sorted(rows.scalars())
