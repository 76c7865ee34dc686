"""What must hold of closed months, as queries that count violations (``billing.reconcile`` says what each means)."""

from __future__ import annotations

CLOSE_QUERIES = {
    "rollups": """
        SELECT (SELECT count(*) FROM (SELECT org, key, count(*) AS calls, sum(won) AS won FROM usage GROUP BY 1, 2) u
                FULL JOIN (SELECT org, key, sum(calls) AS calls, sum(won) AS won FROM usage_hour GROUP BY 1, 2) r
                USING (org, key) WHERE (u.calls, u.won) IS DISTINCT FROM (r.calls, r.won))
             + (SELECT count(*) FROM (
                    SELECT org, model, month, count(*) AS calls, sum(won) AS won, coalesce(sum(cost_won), 0) AS cost,
                        count(*) FILTER (WHERE cost_usd IS NULL) AS uncosted FROM usage GROUP BY 1, 2, 3
                    UNION ALL SELECT org, model, month, sum(calls), sum(won), sum(cost_won), sum(uncosted)
                    FROM usage_retired GROUP BY 1, 2, 3) u
                FULL JOIN (SELECT org, model, to_char(day, 'YYYYMM') AS month, sum(calls) AS calls, sum(won) AS won,
                    sum(cost_won) AS cost, sum(uncosted) AS uncosted FROM usage_day GROUP BY 1, 2, 3) r
                USING (org, model, month)
                WHERE (u.calls, u.won, u.cost, u.uncosted) IS DISTINCT FROM (r.calls, r.won, r.cost, r.uncosted))
             + (SELECT count(*) FROM (SELECT org, key, count(first_token_ms) + count(duration_ms) AS calls FROM usage
                    WHERE outcome = 'complete' GROUP BY 1, 2) u
                FULL JOIN (SELECT org, key, sum(calls) AS calls FROM usage_latency GROUP BY 1, 2) r
                USING (org, key) WHERE coalesce(u.calls, 0) <> coalesce(r.calls, 0))""",
    "invoices": """
        SELECT count(*) FROM invoice i CROSS JOIN LATERAL (SELECT
            CAST(i.content AS jsonb) AS c) AS said
        CROSS JOIN LATERAL (SELECT coalesce(sum(exact), 0) AS exact, coalesce(sum(supply), 0) AS supply,
            coalesce(sum(vat), 0) AS vat
            FROM jsonb_to_recordset(c -> 'lines') AS l (exact numeric, supply bigint, vat bigint)) AS lines
        WHERE i.finalised_at IS NOT NULL AND (
            i.exact <> lines.exact - i.promotion
            OR i.supply <> lines.supply + CAST(c -> 'promotion' ->> 'supply' AS bigint)
            OR i.vat <> lines.vat + CAST(c -> 'promotion' ->> 'vat' AS bigint)
            OR floor(i.exact) <> i.supply
                + CASE WHEN CAST(c -> 'rule' ->> 'inclusive' AS boolean) THEN i.vat ELSE 0 END)""",
    "invoice_bookings": """
        SELECT (SELECT count(*) FROM invoice i LEFT JOIN ledger_transaction t
                ON t.org = i.org AND t.kind = 'invoice' AND t.reference = i.month || '/' || i.amendment
                WHERE i.finalised_at IS NOT NULL AND t.id IS NULL)
             + (SELECT count(*) FROM (
                    SELECT org, sum(due) AS won FROM (
                        SELECT DISTINCT ON (org, month) org, due FROM invoice WHERE finalised_at IS NOT NULL
                        ORDER BY org, month, amendment DESC) last GROUP BY org) d
                FULL JOIN (SELECT i.org, sum(p.amount) AS won FROM payment p JOIN invoice i ON i.id = p.invoice
                    GROUP BY i.org) p USING (org)
                FULL JOIN (SELECT a.org, b.won FROM account a JOIN account_balance b ON b.account = a.id
                    WHERE a.kind = 'receivable') r USING (org)
                WHERE coalesce(d.won, 0) - coalesce(p.won, 0) <> coalesce(r.won, 0))""",
    "lots": """
        SELECT count(*) FROM lot l
        LEFT JOIN (SELECT lot, sum(won) AS won FROM lot_use GROUP BY lot) u ON u.lot = l.id
        LEFT JOIN lot_expiry e ON e.lot = l.id
        WHERE l.remaining <> l.amount - coalesce(u.won, 0) - coalesce(e.won, 0)""",
    "numbers": """
        SELECT count(*) FROM (SELECT (regexp_match(number, '^([A-Z0-9]+)-([0-9]{6})-([0-9]+)$')) AS n FROM invoice) i
        FULL JOIN invoice_counter c ON c.issuer = n[1] AND c.month = n[2]
        WHERE n IS NOT NULL AND CAST(n[3] AS integer) > coalesce(c.last, 0)
           OR c.last IS NOT NULL AND c.last <> (SELECT count(*) FROM invoice
                WHERE number ~ ('^' || c.issuer || '-' || c.month || '-[0-9]+$'))""",
    "late_usage": """
        SELECT count(*) FROM (
            SELECT DISTINCT ON (org, month) org, month, exact + promotion AS won FROM invoice
            WHERE finalised_at IS NOT NULL ORDER BY org, month, amendment DESC) i
        LEFT JOIN (SELECT org, month, sum(won) AS won FROM usage
            WHERE month IN (SELECT month FROM invoice WHERE finalised_at IS NOT NULL) GROUP BY org, month
            UNION ALL SELECT org, month, sum(won) FROM usage_retired GROUP BY org, month) u
            USING (org, month)
        WHERE i.won <> coalesce(u.won, 0)""",
}
