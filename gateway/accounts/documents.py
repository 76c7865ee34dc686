"""Months, invoices and payments as people look at them: read only, from small tables and never from the calls.

Amounts are whole won with their VAT apart, unless a field says otherwise. ``org`` None reads all organisations.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from gateway.errors import NotFound

MOST_MONTHS = 36
_ORG = "(CAST(:org AS uuid) IS NULL OR org = CAST(:org AS uuid))"


class MonthSum(msgspec.Struct, frozen=True):
    """A month. ``used`` is what its calls came to, rounded up per call to a millionth of a won; ``documents`` counts the
    newest document of each organisation by state; ``collected``: no call of it can still arrive."""

    month: str
    used: Decimal
    collected: bool
    customers: int
    documents: dict[str, int]
    supply: int
    vat: int
    due: int
    paid: int


class Document(msgspec.Struct, frozen=True):
    """One row of a month: an organisation's newest document, or that it has none (``state`` is ``open``)."""

    org: str
    name: str
    month: str
    used: Decimal
    state: str
    amendment: int
    number: str | None
    supply: int
    vat: int
    due: int
    due_on: dt.date | None
    issued_on: dt.date | None
    paid: int


class Whole(msgspec.Struct, frozen=True):
    """A document with everything it says. ``content`` is the frozen JSON; who drafted, reviewed and made it final."""

    id: str
    org: str
    name: str
    month: str
    amendment: int
    state: str
    number: str | None
    digest: str
    content: dict[str, Any]
    supply: int
    vat: int
    due: int
    exact: Decimal
    promotion: Decimal
    issued_on: dt.date | None
    due_on: dt.date | None
    approval: str | None
    reason_code: str | None
    reason: str | None
    drafted_at: dt.datetime
    reviewed_at: dt.datetime | None
    finalised_at: dt.datetime | None
    drafted_by: str
    drafted_by_name: str | None
    reviewed_by_name: str | None
    finalised_by_name: str | None


class Paid(msgspec.Struct, frozen=True):
    """A payment as it was booked."""

    number: str
    org: str
    name: str
    amount: int
    paid_on: dt.date
    reference: str
    booked_at: dt.datetime


_MONTHS = sa.text(f"""
WITH used AS (SELECT month, sum(spent_micro) AS micro, count(*) AS customers FROM window_month
        WHERE spent_micro > 0 AND {_ORG} GROUP BY month),
    newest AS (SELECT DISTINCT ON (org, month) org, month, state, supply, vat, due, finalised_at FROM invoice
        WHERE {_ORG} ORDER BY org, month, amendment DESC),
    states AS (SELECT month, jsonb_object_agg(state, n) AS documents FROM
        (SELECT month, state, count(*) AS n FROM newest GROUP BY 1, 2) s GROUP BY month),
    sums AS (SELECT month, sum(supply) AS supply, sum(vat) AS vat, sum(due) AS due FROM newest GROUP BY month),
    paid AS (SELECT i.month, sum(p.amount) AS paid FROM payment p JOIN invoice i ON i.id = p.invoice
        WHERE CAST(:org AS uuid) IS NULL OR i.org = CAST(:org AS uuid) GROUP BY i.month)
SELECT coalesce(u.month, s.month) AS month, coalesce(u.micro, 0) AS micro, coalesce(u.customers, 0) AS customers,
    s.supply, s.vat, s.due, t.documents, p.paid, c.month IS NOT NULL AS collected
FROM used u FULL JOIN sums s USING (month) LEFT JOIN states t ON t.month = coalesce(u.month, s.month)
LEFT JOIN paid p ON p.month = coalesce(u.month, s.month)
LEFT JOIN month_collected c ON c.month = coalesce(u.month, s.month)
ORDER BY 1 DESC LIMIT :most
""")
_DOCUMENTS = sa.text("""
SELECT o.id AS org, o.name, CAST(:month AS text) AS month, coalesce(u.spent_micro, 0) AS micro,
    coalesce(i.state, 'open') AS state, coalesce(i.amendment, 0) AS amendment, i.number, coalesce(i.supply, 0) AS supply,
    coalesce(i.vat, 0) AS vat, coalesce(i.due, 0) AS due, i.due_on, i.issued_on,
    (SELECT coalesce(sum(p.amount), 0) FROM payment p JOIN invoice of ON of.id = p.invoice
        WHERE of.org = o.id AND of.month = :month) AS paid
FROM (SELECT org, spent_micro FROM window_month WHERE month = :month AND spent_micro > 0) u
FULL JOIN (SELECT DISTINCT ON (org) * FROM invoice WHERE month = :month ORDER BY org, amendment DESC) i USING (org)
JOIN organisation o ON o.id = coalesce(u.org, i.org)
WHERE (CAST(:org AS uuid) IS NULL OR o.id = CAST(:org AS uuid))
    AND (CAST(:words AS text) = '' OR strpos(lower(o.name), lower(:words)) > 0 OR i.number = :words)
ORDER BY o.name, o.id LIMIT :most OFFSET :skip
""")
_WHOLE = sa.text("""
SELECT i.*, o.name, d.name AS drafted_by_name, r.name AS reviewed_by_name, f.name AS finalised_by_name
FROM invoice i JOIN organisation o ON o.id = i.org LEFT JOIN person d ON d.id = i.drafted_by
LEFT JOIN person r ON r.id = i.reviewed_by LEFT JOIN person f ON f.id = i.finalised_by
WHERE i.org = CAST(:org AS uuid) AND i.month = :month ORDER BY i.amendment DESC
""")
_UNPAID = sa.text(f"""
SELECT * FROM (
    SELECT i.org, o.name, i.month, i.exact AS used, i.state, i.amendment, i.number, i.supply, i.vat, i.due, i.due_on,
        i.issued_on, (SELECT coalesce(sum(p.amount), 0) FROM payment p JOIN invoice of ON of.id = p.invoice
            WHERE of.org = i.org AND of.month = i.month) AS paid
    FROM (SELECT DISTINCT ON (org, month) * FROM invoice WHERE finalised_at IS NOT NULL AND {_ORG}
        ORDER BY org, month, amendment DESC) i JOIN organisation o ON o.id = i.org) d
WHERE due > paid AND state IN ('issued', 'overdue', 'amended') ORDER BY due_on NULLS LAST, name LIMIT :most
""")
_PAYMENTS = sa.text("""
SELECT i.number, i.org, o.name, p.amount, p.paid_on, p.reference, p.booked_at
FROM payment p JOIN invoice i ON i.id = p.invoice JOIN organisation o ON o.id = i.org
WHERE (CAST(:org AS uuid) IS NULL OR i.org = CAST(:org AS uuid))
    AND (CAST(:month AS text) IS NULL OR i.month = :month)
ORDER BY p.id DESC LIMIT :most
""")


def months(connection: Connection, org: str | None) -> Sequence[MonthSum]:
    """The newest months in which something was used or billed, newest first."""
    rows = connection.execute(_MONTHS, {"org": org, "most": MOST_MONTHS}).mappings()
    return [
        MonthSum(
            month=row["month"], used=_won(row["micro"]), collected=row["collected"], customers=row["customers"],
            documents=row["documents"] or {}, supply=int(row["supply"] or 0), vat=int(row["vat"] or 0),
            due=int(row["due"] or 0), paid=int(row["paid"] or 0),
        )
        for row in rows
    ]  # fmt: skip


def of_month(
    connection: Connection, month: str, org: str | None, *, words: str = "", skip: int = 0, most: int = 50
) -> Sequence[Document]:
    """A row for every organisation that used something or has a document, by name."""
    values = {"month": month, "org": org, "words": words, "most": most, "skip": skip}
    return [
        _document(row, _won(row["micro"])) for row in connection.execute(_DOCUMENTS, values).mappings()
    ]  # fmt: skip


def whole(connection: Connection, org: str, month: str) -> Sequence[Whole]:
    """The documents of an organisation's month, newest first."""
    rows = connection.execute(_WHOLE, {"org": _id(org), "month": month}).mappings()
    return [_whole(row) for row in rows]


def unpaid(connection: Connection, org: str | None, most: int = 200) -> Sequence[Document]:
    """What went out and is not paid in full, the longest due first."""
    rows = connection.execute(_UNPAID, {"org": org, "most": most}).mappings()
    return [_document(row, Decimal(row["used"])) for row in rows]


def payments(connection: Connection, org: str | None, month: str | None = None, most: int = 100) -> Sequence[Paid]:
    """Newest first."""
    rows = connection.execute(_PAYMENTS, {"org": org, "month": month, "most": most}).mappings()
    return [
        Paid(**{name: row[name] for name in Paid.__struct_fields__ if name != "org"}, org=str(row["org"]))
        for row in rows
    ]


def _document(row: RowMapping, used: Decimal) -> Document:
    values = {name: row[name] for name in Document.__struct_fields__ if name not in ("org", "used", "paid")}
    return Document(org=str(row["org"]), used=used, paid=int(row["paid"]), **values)


def _whole(row: RowMapping) -> Whole:
    values = {name: row[name] for name in Whole.__struct_fields__}
    for name in ("id", "org", "drafted_by"):
        values[name] = str(values[name])
    values["content"] = cast("dict[str, Any]", json.loads(row["content"]))
    return Whole(**values)


def _won(micro: int | Decimal) -> Decimal:
    return Decimal(micro).scaleb(-6)


def _id(org: str) -> str:
    try:
        return str(uuid.UUID(org))
    except ValueError:
        raise NotFound(f"no organisation {org}") from None
