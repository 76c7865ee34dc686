"""One organisation's month as the books have it: lines, what paid for them, rates. Read only.

Everything is added up by PostgreSQL, exactly, so that memory does not grow with the number of calls.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from gateway.invoices.calendar import first_of, last_of
from gateway.invoices.invoice import RateUse
from gateway.invoices.lots import Consumption, Lot, Used, consume, dates_of
from gateway.invoices.totals import ZERO, Funding, UsageLine, add_exact
from gateway.money import EXACT
from gateway.wire.ids import SEOUL

SOURCES = {"eximbank": "한국수출입은행 매매기준율", "manual": "직접 입력", "csv": "파일 입력", "demo": "시험용 환율"}

# Lines come from the parts, which say what was charged at which price; a call that several models answered appears
# in several lines and is counted once. The provider of a part is that of the attempt which it was billed for.
_LINES = text("""
SELECT u.key, k.name AS key_name, coalesce(u.title, '') AS app, p.model, p.input_usd, p.output_usd, p.rate,
    CASE WHEN p.n = 1 AND p.model = u.model THEN u.provider ELSE coalesce((
        SELECT a ->> 'provider' FROM jsonb_array_elements(u.attempts) a
        WHERE a ->> 'model' = p.model ORDER BY (a ->> 'billed') NULLS LAST LIMIT 1), u.provider) END AS provider,
    sum(p.won) AS exact, count(*) FILTER (WHERE p.n = 1) AS calls, sum(p.prompt) AS prompt,
    sum(CASE WHEN p.n = 1 THEN u.cached_tokens ELSE 0 END) AS cached, sum(p.completion) AS completion,
    CASE WHEN bool_and(u.cost_usd IS NOT NULL) THEN sum(CASE WHEN p.n = 1 THEN u.cost_usd ELSE 0 END) END AS cost_usd,
    CASE WHEN bool_and(u.cost_won IS NOT NULL) THEN sum(CASE WHEN p.n = 1 THEN u.cost_won ELSE 0 END) END AS cost_won
FROM usage u
CROSS JOIN LATERAL ROWS FROM (jsonb_to_recordset(u.parts) AS (model text, prompt bigint, completion bigint,
    input_usd numeric, output_usd numeric, rate numeric, won numeric))
    WITH ORDINALITY AS p (model, prompt, completion, input_usd, output_usd, rate, won, n)
LEFT JOIN api_key k ON k.id = u.key
WHERE u.month = :month AND u.org = CAST(:org AS uuid) AND u.won > 0
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
ORDER BY 2, 1, 3, 8, 4, 7, 5, 6
""")
_RATES = text("""
SELECT CAST(min(u.admitted_at) AT TIME ZONE 'Asia/Seoul' AS date) AS first,
       CAST(max(u.admitted_at) AT TIME ZONE 'Asia/Seoul' AS date) AS last,
       u.rate, coalesce(r.source, '') AS source, r.date, sum(u.won) AS exact
FROM usage u LEFT JOIN exchange_rate r ON r.id = u.rate_id
WHERE u.month = :month AND u.org = CAST(:org AS uuid) AND u.won > 0
GROUP BY u.rate_id, u.rate, r.source, r.date
ORDER BY 1, 2, 3, 4, 5
""")
_PREPAID = text("""
SELECT width_bucket(admitted_at, CAST(:dates AS timestamptz[])) AS place, sum(won) AS won
FROM usage WHERE month = :month AND org = CAST(:org AS uuid) AND prepaid AND won > 0
GROUP BY 1 ORDER BY 1
""")
_ON_ACCOUNT = text(
    "SELECT coalesce(sum(won), 0) FROM usage WHERE month = :month AND org = CAST(:org AS uuid) AND NOT prepaid"
)
# What other months took is gone; what this one took so far is decided anew.
_LOTS = text("""
SELECT l.id, l.method, l.created_at, l.expires_at,
    l.amount - coalesce(e.won, 0) - coalesce((
        SELECT sum(t.won) FROM lot_use t JOIN invoice i ON i.id = t.invoice
        WHERE t.lot = l.id AND i.month <> :month), 0) AS left
FROM lot l LEFT JOIN lot_expiry e ON e.lot = l.id
WHERE l.org = CAST(:org AS uuid) ORDER BY l.created_at, l.id
""")


@dataclass(frozen=True, slots=True)
class Month:
    """What an invoice is made from. ``overdrawn`` is the part of ``funding.credit`` that was used as prepaid."""

    lines: tuple[UsageLine, ...]
    funding: Funding
    rates: tuple[RateUse, ...]
    lots: Consumption
    overdrawn: Decimal


def read_month(connection: Connection, org: str, month: str) -> Month:
    """The month (``YYYYMM``) as it stands. For one picture, inside a repeatable-read transaction."""
    asked = {"org": org, "month": month}
    lines = tuple(_line(row) for row in connection.execute(_LINES, asked))
    rates = tuple(
        RateUse(first=row.first, last=row.last, rate=row.rate, source=_source(row), exact=row.exact)
        for row in connection.execute(_RATES, asked)
    )
    on_account = Decimal(connection.execute(_ON_ACCOUNT, asked).scalar_one())
    lots = read_lots(connection, org, month)
    paid = consume(lots, _used(connection, lots, asked))
    funding = Funding(
        promotion=paid.by_method(lots, "promotion"),
        transfer=paid.by_method(lots, "transfer"),
        card=paid.by_method(lots, "card"),
        credit=EXACT.add(on_account, paid.overdrawn),
    )
    return Month(lines, funding, rates, paid, paid.overdrawn)


def read_lines(connection: Connection, org: str, month: str) -> tuple[UsageLine, ...]:
    """The lines alone, with what they cost us."""
    return tuple(_line(row) for row in connection.execute(_LINES, {"org": org, "month": month}))


def read_lots(connection: Connection, org: str, month: str) -> list[Lot]:
    """The organisation's lots with what other months have left of them."""
    rows = connection.execute(_LOTS, {"org": org, "month": month})
    return [Lot(str(row.id), row.method, Decimal(row.left), row.created_at, row.expires_at) for row in rows]


def _used(connection: Connection, lots: list[Lot], asked: dict[str, str]) -> list[Used]:
    """What was used between the dates of the lots. The dates after the month are there for what it left unpaid."""
    dates = dates_of(lots, month_start(asked["month"]), dt.datetime.max.replace(tzinfo=dt.UTC))
    rows = connection.execute(_PREPAID, asked | {"dates": dates})
    won = {row.place: Decimal(row.won) for row in rows}
    return [Used(moment, won.get(place, ZERO)) for place, moment in enumerate(dates, 1)]


def month_start(month: str) -> dt.datetime:
    """Its first moment in Seoul."""
    return dt.datetime.combine(first_of(month), dt.time(), SEOUL)


def month_end(month: str) -> dt.datetime:
    """The first moment of the month after it, in Seoul."""
    return dt.datetime.combine(last_of(month) + dt.timedelta(days=1), dt.time(), SEOUL)


def _line(row: Any) -> UsageLine:
    return UsageLine(
        key=str(row.key), key_name=row.key_name or "", app=row.app, provider=row.provider, model=row.model,
        input_usd=row.input_usd, output_usd=row.output_usd, rate=row.rate, exact=row.exact, calls=int(row.calls),
        prompt=int(row.prompt), cached=int(row.cached), completion=int(row.completion),
        cost_usd=row.cost_usd, cost_won=row.cost_won,
    )  # fmt: skip


def _source(row: Any) -> str:
    name = SOURCES.get(row.source, str(row.source))
    return f"{name} {row.date}" if row.date else name


def gross(lines: tuple[UsageLine, ...]) -> Decimal:
    """The exact charge of all lines, in won."""
    return add_exact(line.exact for line in lines)
