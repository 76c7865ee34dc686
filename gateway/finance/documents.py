"""Invoices, their amendments and payments, as an organisation or the operator looks at them, and as they are printed."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from gateway.db.tables.accounts import organisation
from gateway.db.tables.close import invoice, payment
from gateway.errors import NotFound
from gateway.invoices import content
from gateway.invoices.document import document
from gateway.invoices.invoice import State
from gateway.money import won_text

SEEN_BY_CUSTOMERS: tuple[State, ...] = ("issued", "paid", "overdue", "amended")
"""What has gone out. Before that a document is the operator's own."""
Format = Literal["html", "pdf"]


class Document(msgspec.Struct, frozen=True):
    """An invoice or an amendment of one. Whole won; ``paid_krw`` is what came in for its month so far."""

    id: str
    org: str
    org_name: str
    month: str
    amendment: int
    state: State
    number: str | None
    supply_krw: int
    vat_krw: int
    due_krw: int
    paid_krw: int
    exact_krw: str
    issued_on: dt.date | None
    due_on: dt.date | None
    approval: str | None
    reason_code: str | None
    reason: str | None
    digest: str
    drafted_by: str
    drafted_at: dt.datetime
    reviewed_by: str | None
    finalised_by: str | None
    finalised_at: dt.datetime | None


class Payment(msgspec.Struct, frozen=True):
    """Whole won, VAT included."""

    id: str
    org: str
    number: str | None
    month: str
    amount_krw: int
    paid_on: dt.date
    reference: str
    booked_by: str
    booked_at: dt.datetime


def page(
    connection: Connection,
    org: str | None = None,
    *,
    month: str | None = None,
    states: Sequence[State] = (),
    before: str | None = None,
    most: int = 50,
) -> Sequence[Document]:
    """Documents, newest first, those older than ``before``: of an organisation, or of all."""
    query = _query().order_by(invoice.c.id.desc()).limit(most)
    if org is not None:
        query = query.where(invoice.c.org == uuid.UUID(org))
    if month is not None:
        query = query.where(invoice.c.month == month)
    if states:
        query = query.where(invoice.c.state.in_(states))
    if before is not None:
        query = query.where(invoice.c.id < uuid.UUID(before))
    return [_view(row) for row in connection.execute(query).mappings()]


def show(
    connection: Connection, invoice_id: str, org: str | None = None, states: Sequence[State] = ()
) -> tuple[Document, dict[str, Any]]:
    """A document by id or number, with all that it says. Raises ``NotFound``."""
    row = _find(connection, invoice_id, org, states)
    return _view(row), msgspec.json.decode(row["content"])


def printed(
    connection: Connection, invoice_id: str, org: str | None = None, states: Sequence[State] = ()
) -> content.Invoice:
    """What is printed of a document. Raises ``NotFound``."""
    row = _find(connection, invoice_id, org, states)
    said = content.read(row["content"])
    return content.invoice(said, cast("State", row["state"]), row["issued_on"], row["due_on"], row["approval"] or "")


def render(of: content.Invoice, form: Format) -> bytes:
    """The document as a file. It takes processor time: not on an event loop."""
    drawn = document(of)
    if form == "html":
        from gateway.invoices.html import html

        return html(drawn).encode()
    from gateway.invoices.pdf import pdf

    return pdf(drawn)


def payments(
    connection: Connection,
    org: str | None = None,
    *,
    month: str | None = None,
    before: str | None = None,
    most: int = 50,
) -> Sequence[Payment]:
    """Payments, newest first."""
    columns = [payment.c[name] for name in ("id", "amount", "paid_on", "reference", "booked_by", "booked_at")]
    query = (
        sa.select(*columns, invoice.c.org, invoice.c.number, invoice.c.month)
        .join(invoice, invoice.c.id == payment.c.invoice)
        .order_by(payment.c.id.desc())
        .limit(most)
    )
    if org is not None:
        query = query.where(invoice.c.org == uuid.UUID(org))
    if month is not None:
        query = query.where(invoice.c.month == month)
    if before is not None:
        query = query.where(payment.c.id < uuid.UUID(before))
    return [
        Payment(str(row.id), str(row.org), row.number, row.month, row.amount, row.paid_on, row.reference,
                row.booked_by, row.booked_at)
        for row in connection.execute(query)
    ]  # fmt: skip


def _query() -> sa.Select[Any]:
    other = invoice.alias("of")
    received = (
        sa.select(sa.func.coalesce(sa.func.sum(payment.c.amount), 0))
        .join(other, other.c.id == payment.c.invoice)
        .where(other.c.org == invoice.c.org, other.c.month == invoice.c.month)
        .scalar_subquery()
    )
    columns = [column for column in invoice.c if column.name != "content"]
    return sa.select(*columns, organisation.c.name.label("org_name"), received.label("received")).join(
        organisation, organisation.c.id == invoice.c.org
    )


def _find(connection: Connection, invoice_id: str, org: str | None, states: Sequence[State]) -> RowMapping:
    try:
        which = invoice.c.id == uuid.UUID(invoice_id)
    except ValueError:
        which = invoice.c.number == invoice_id
    query = _query().add_columns(invoice.c.content).where(which)
    if org is not None:
        query = query.where(invoice.c.org == uuid.UUID(org))
    if states:
        query = query.where(invoice.c.state.in_(states))
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"no invoice {invoice_id}")
    return row


def _view(row: RowMapping) -> Document:
    ids = {name: row[name] and str(row[name]) for name in ("id", "org", "drafted_by", "reviewed_by", "finalised_by")}
    same = (
        "org_name", "month", "amendment", "state", "number", "issued_on", "due_on", "approval", "reason_code", "reason",
        "digest", "drafted_at", "finalised_at",
    )  # fmt: skip
    return Document(
        **ids,
        **{name: row[name] for name in same},
        supply_krw=row["supply"],
        vat_krw=row["vat"],
        due_krw=row["due"],
        paid_krw=int(row["received"]),
        exact_krw=won_text(Decimal(row["exact"])),
    )
