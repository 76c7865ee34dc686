"""How far the close of each month is: over the whole installation, and document by document."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, text

from gateway.money import won_text
from gateway.wire import ids

Stage = Literal["open", "collecting", "draft", "reviewed", "final", "issued", "settled"]

_MONTHS = text("""
SELECT m.month, max(c.at) AS collected_at, count(DISTINCT m.org) AS organisations, coalesce(sum(m.used), 0) AS used,
    count(m.state) AS documents, count(*) FILTER (WHERE m.state IS NULL AND m.used > 0) AS without,
    count(*) FILTER (WHERE m.state = 'draft') AS draft, count(*) FILTER (WHERE m.state = 'reviewed') AS reviewed,
    count(*) FILTER (WHERE m.state = 'final' AND m.number IS NOT NULL) AS final,
    count(*) FILTER (WHERE m.state = 'final' AND m.number IS NULL) AS nothing,
    count(*) FILTER (WHERE m.state = 'issued') AS issued, count(*) FILTER (WHERE m.state = 'overdue') AS overdue,
    count(*) FILTER (WHERE m.state = 'paid') AS paid, count(*) FILTER (WHERE m.amendment > 0) AS amended,
    coalesce(sum(m.supply), 0) AS supply, coalesce(sum(m.vat), 0) AS vat, coalesce(sum(m.due), 0) AS due,
    coalesce(sum(m.received), 0) AS received
FROM (
    SELECT coalesce(u.month, i.month) AS month, coalesce(u.org, i.org) AS org, coalesce(u.used, 0) AS used,
        i.state, i.number, i.amendment, i.supply, i.vat, i.due, p.received
    FROM (SELECT to_char(day, 'YYYYMM') AS month, org, sum(won) AS used FROM usage_day GROUP BY 1, 2) u
    FULL JOIN (SELECT DISTINCT ON (org, month) * FROM invoice ORDER BY org, month, amendment DESC) i USING (org, month)
    LEFT JOIN (SELECT i.org, i.month, sum(p.amount) AS received FROM payment p JOIN invoice i ON i.id = p.invoice
        GROUP BY 1, 2) p ON p.org = i.org AND p.month = i.month
) m LEFT JOIN month_collected c ON c.month = m.month
GROUP BY m.month ORDER BY m.month DESC LIMIT :most
""")
_ROWS = text("""
SELECT o.id AS org, o.name, :month AS month, i.id, i.amendment, coalesce(i.state, 'open') AS state, i.number, i.supply,
    i.vat, i.due, i.due_on, i.issued_on, i.approval, u.won AS used,
    (SELECT coalesce(sum(p.amount), 0) FROM payment p JOIN invoice of ON of.id = p.invoice
        WHERE of.org = o.id AND of.month = :month) AS paid,
    i.drafted_by, i.reviewed_by, i.finalised_by
FROM (SELECT org, sum(won) AS won FROM usage_day WHERE day >= :first AND day <= :last GROUP BY org HAVING sum(won) > 0) u
FULL JOIN (SELECT * FROM invoice WHERE month = :month) i USING (org)
JOIN organisation o ON o.id = coalesce(u.org, i.org)
WHERE CAST(:org AS uuid) IS NULL OR o.id = CAST(:org AS uuid)
ORDER BY i.number NULLS LAST, o.name, o.id, i.amendment
""")


class Month(msgspec.Struct, frozen=True):
    """A month of the installation. ``stage`` is that of the document furthest behind; counts are of documents,
    ``without`` of organisations that have none yet. Whole won; ``used_krw`` exact."""

    month: str
    stage: Stage
    collected_at: dt.datetime | None
    organizations: int
    without: int
    draft: int
    reviewed: int
    final: int
    nothing: int
    issued: int
    overdue: int
    paid: int
    amended: int
    used_krw: str
    supply_krw: int
    vat_krw: int
    due_krw: int
    received_krw: int


def months(connection: Connection, now_ms: int, most: int = 24) -> Sequence[Month]:
    """The newest months with usage or documents. ``now_ms`` is the clock that decides which month it is."""
    current = ids.month_of(now_ms)
    return [_month(row, current) for row in connection.execute(_MONTHS, {"most": most})]


def overview(connection: Connection, month: str, org: str | None = None) -> list[dict[str, Any]]:
    """One entry per document of ``month`` (``YYYYMM``), and one for everybody who has none yet. Whole won; ``used`` exact."""
    first = dt.date(int(month[:4]), int(month[4:]), 1)
    last = (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)
    rows = connection.execute(_ROWS, {"month": month, "org": org, "first": first, "last": last}).mappings()
    return [
        dict(row)
        | {name: row[name] and str(row[name]) for name in ("org", "id", "drafted_by", "reviewed_by", "finalised_by")}
        | {"paid": int(row["paid"]), "used": won_text(Decimal(row["used"] or 0))}
        for row in rows
    ]


def _month(row: Any, current: str) -> Month:
    return Month(
        month=row.month, stage=_stage(row, current), collected_at=row.collected_at, organizations=row.organisations,
        without=row.without, draft=row.draft, reviewed=row.reviewed, final=row.final, nothing=row.nothing,
        issued=row.issued, overdue=row.overdue, paid=row.paid, amended=row.amended,
        used_krw=won_text(Decimal(row.used)), supply_krw=int(row.supply), vat_krw=int(row.vat), due_krw=int(row.due),
        received_krw=int(row.received),
    )  # fmt: skip


def _stage(row: Any, current: str) -> Stage:
    if row.month >= current:
        return "open"
    if row.without:
        return "collecting"
    if row.draft:
        return "draft"
    if row.reviewed:
        return "reviewed"
    if row.final:
        return "final"
    return "issued" if row.issued or row.overdue else "settled"
