"""How far a month's close is, for people."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from billing.invoices.collecting import NotCollectedError, check_month, is_over
from gateway.invoices.month import month_end
from gateway.money import won_text

_ROWS = text("""
SELECT o.id AS org, o.name, :month AS month, i.amendment, coalesce(i.state, :unclosed) AS state, i.number, i.supply,
    i.vat, i.due, i.due_on, i.issued_on, i.approval, u.won AS used,
    (SELECT coalesce(sum(p.amount), 0) FROM payment p JOIN invoice of ON of.id = p.invoice
        WHERE of.org = o.id AND of.month = :month) AS paid
FROM (SELECT org, sum(won) AS won FROM usage WHERE month = :month AND won > 0 GROUP BY org) u
FULL JOIN (SELECT * FROM invoice WHERE month = :month) i USING (org)
JOIN organisation o ON o.id = coalesce(u.org, i.org)
WHERE CAST(:org AS uuid) IS NULL OR o.id = CAST(:org AS uuid)
ORDER BY i.number NULLS LAST, o.name, o.id, i.amendment
""")


def standing(redis: Any, connection: Connection, month: str) -> str:
    """``open`` while the month runs, ``collecting`` and what is missing, or ``collected``."""
    if not is_over(redis, month_end(month)):
        return "open"
    try:
        check_month(redis, connection, month)
    except NotCollectedError as reason:
        return f"collecting: {reason}"
    return "collected"


def month_overview(connection: Connection, month: str, org: str | None = None) -> list[dict[str, Any]]:
    """One entry per document, and one for everybody who has none yet. Whole won; ``used`` exact."""
    rows = connection.execute(_ROWS, {"month": month, "org": org, "unclosed": "open"}).mappings()
    return [
        dict(row) | {"org": str(row["org"]), "paid": int(row["paid"]), "used": won_text(Decimal(row["used"] or 0))}
        for row in rows
    ]
