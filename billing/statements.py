"""Provider statements against the books: per provider, model and day, what they charge us and what we counted.

A statement is a CSV file with the columns day, model, prompt_tokens, completion_tokens and usd (further ones are left
alone; 일자, 모델, 입력토큰, 출력토큰, 금액 are understood as well). Its days are whole days of the zone it is written in.

The books' side is every attempt that reached a provider, because failed and hedged ones cost us too; without token
counts of its own an attempt counts what the call used, if it was the one that was delivered. Their value is at the
provider's list price (``billing.costs``), so a rebate shows as one.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

from billing.fx import RateError, read_date
from gateway.db.tables.accounts import audit_log
from gateway.invoices.totals import ZERO, add_exact
from gateway.money import EXACT, exact, won_text

_RETIRED = text(
    "SELECT month FROM usage_retirement WHERE retired_at IS NOT NULL AND month BETWEEN :first AND :last "
    "ORDER BY month LIMIT 1"
)
_HEADINGS = {
    "day": ("day", "date", "일자"),
    "model": ("model", "모델"),
    "prompt": ("prompt_tokens", "input_tokens", "입력토큰"),
    "completion": ("completion_tokens", "output_tokens", "출력토큰"),
    "usd": ("usd", "cost_usd", "amount", "금액"),
}
CENT = Decimal("0.01")
"""Providers round a day's charge of a model to cents: a smaller difference in USD is rounding."""

# Quantities and prices are those of ``billing.costs``. The model that a provider knows an attempt by is its
# deployment's; statements may use either name.
_BOOKS = text("""
SELECT CAST(u.admitted_at AT TIME ZONE :zone AS date) AS day, a.model, coalesce(d.upstream_model, '') AS upstream,
    count(*) AS attempts, sum(t.prompt) AS prompt, sum(t.completion) AS completion, sum(v.usd) AS usd,
    sum(v.usd * coalesce(u.rate, u.cost_won / nullif(u.cost_usd, 0))) AS at_rate,
    sum(CASE WHEN a.billed THEN u.won ELSE 0 END) AS won
FROM usage u
CROSS JOIN LATERAL jsonb_to_recordset(u.attempts) AS a
    (n int, model text, provider text, deployment text, billed boolean, status int, tokens jsonb)
CROSS JOIN LATERAL jsonb_to_record(coalesce(a.tokens, '{}')) AS k (prompt bigint, completion bigint, cached bigint,
    cache_write_5m bigint, cache_write_1h bigint, image bigint, search bigint)
CROSS JOIN LATERAL (
    SELECT coalesce(k.prompt, 0) AS prompt, coalesce(k.completion, 0) AS completion, coalesce(k.cached, 0) AS cached,
        coalesce(k.cache_write_5m, 0) AS write_5m, coalesce(k.cache_write_1h, 0) AS write_1h,
        coalesce(k.image, 0) AS image, coalesce(k.search, 0) AS search
    WHERE coalesce(k.prompt, 0) + coalesce(k.completion, 0) > 0
    UNION ALL
    SELECT u.prompt_tokens, u.completion_tokens, u.cached_tokens, u.cache_write_5m_tokens, u.cache_write_1h_tokens,
        u.image_tokens, u.searches
    WHERE coalesce(k.prompt, 0) + coalesce(k.completion, 0) = 0 AND a.billed) t
CROSS JOIN LATERAL (
    SELECT input_usd, output_usd, coalesce(cached_usd, input_usd) AS cached_usd,
        coalesce(cache_write_5m_usd, input_usd) AS write_5m_usd, coalesce(cache_write_1h_usd, input_usd) AS write_1h_usd,
        coalesce(image_usd, output_usd) AS image_usd, coalesce(search_usd, 0) AS search_usd, threshold,
        over_input_usd, over_output_usd
    FROM (
        (SELECT 1 AS choice, input_usd, output_usd, cached_usd, cache_write_5m_usd, cache_write_1h_usd, image_usd,
            search_usd, CAST(NULL AS bigint) AS threshold, CAST(NULL AS numeric) AS over_input_usd,
            CAST(NULL AS numeric) AS over_output_usd
            FROM provider_price WHERE provider = a.provider AND model = a.model AND effective_from <= u.admitted_at
            ORDER BY effective_from DESC LIMIT 1)
        UNION ALL (SELECT 2, input_usd, output_usd, NULL, NULL, NULL, NULL, NULL, threshold, over_input_usd,
            over_output_usd
            FROM price WHERE model = a.model AND effective_from <= u.admitted_at ORDER BY effective_from DESC LIMIT 1)
        UNION ALL SELECT 3, u.input_usd, u.output_usd, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL) p
    ORDER BY choice LIMIT 1) c
CROSS JOIN LATERAL (SELECT 0.000001 * CASE WHEN t.prompt > c.threshold
    THEN t.prompt * c.over_input_usd + t.completion * c.over_output_usd
    ELSE (t.prompt - t.cached - t.write_5m - t.write_1h) * c.input_usd + t.cached * c.cached_usd
        + t.write_5m * c.write_5m_usd + t.write_1h * c.write_1h_usd + (t.completion - t.image) * c.output_usd
        + t.image * c.image_usd + t.search * c.search_usd * 1000000 END AS usd) v
LEFT JOIN deployment d ON d.id = a.deployment
WHERE a.provider = :provider AND u.job >= CAST(:since AS uuid) AND u.job < CAST(:until AS uuid)
    AND t.prompt + t.completion > 0
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""")


class StatementError(ValueError):
    """The file is no statement; the text is for the person who brought it."""


@dataclass(slots=True)
class Figures:
    """Tokens and USD of one model on one day."""

    prompt: int = 0
    completion: int = 0
    usd: Decimal = ZERO
    won: Decimal = ZERO
    at_rate: Decimal = ZERO
    """The books' USD in won, at the rates of the calls."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where statement and books disagree on one model and day, and the reason that the figures give."""

    day: dt.date
    model: str
    reason: str
    tokens: int
    usd: Decimal


@dataclass(frozen=True, slots=True)
class Result:
    """A statement matched with the books. USD and won; ``margin_won`` is what customers were charged less the
    statement's USD at the rates of the calls, ``exchange_won`` those same USD at the calls' rates less at ``paid_rate``."""

    provider: str
    first: dt.date
    last: dt.date
    statement_usd: Decimal
    books_usd: Decimal
    charged_won: Decimal
    margin_won: Decimal
    exchange_won: Decimal | None
    differences: tuple[Difference, ...] = field(default=())

    def shown(self) -> dict[str, Any]:
        """For people and JSON."""
        return {
            "provider": self.provider,
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "statement_usd": won_text(self.statement_usd),
            "books_usd": won_text(self.books_usd),
            "charged_won": won_text(self.charged_won),
            "margin_won": won_text(self.margin_won),
            "exchange_won": None if self.exchange_won is None else won_text(self.exchange_won),
            "differences": [
                {
                    "day": d.day.isoformat(),
                    "model": d.model,
                    "reason": d.reason,
                    "tokens": d.tokens,
                    "usd": won_text(d.usd),
                }
                for d in self.differences
            ],
        }


Lines = dict[tuple[dt.date, str], Figures]


def read_csv(raw: bytes) -> Lines:
    """The statement's figures by day and model. Raises ``StatementError`` naming the line."""
    try:
        written = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StatementError("the file is not UTF-8") from error
    lines = csv.reader(io.StringIO(written, newline=""))
    nothing: list[str] = []
    first_line = next(lines, nothing)
    head = [name.strip().lower().replace(" ", "_") for name in first_line]
    places = {what: next((head.index(name) for name in names if name in head), -1) for what, names in _HEADINGS.items()}
    if missing := [what for what, place in places.items() if place < 0]:
        raise StatementError(f"the first line lacks the columns {', '.join(missing)}")
    found: Lines = {}
    for cells in lines:
        if not any(cells):
            continue
        try:
            key = read_date(cells[places["day"]]), cells[places["model"]].strip()
            figures = found.setdefault(key, Figures())
            figures.prompt += int(cells[places["prompt"]].replace(",", ""))
            figures.completion += int(cells[places["completion"]].replace(",", ""))
            figures.usd = EXACT.add(figures.usd, exact(cells[places["usd"]].replace(",", "").removeprefix("$")))
        except (RateError, ValueError, IndexError) as error:
            raise StatementError(f"line {lines.line_num}: {error}") from error
    if not found:
        raise StatementError("the statement has no lines")
    return found


def match(
    connection: Connection, provider: str, statement: Lines, *, zone: str = "UTC", paid_rate: Decimal | None = None
) -> Result:
    """Compares a statement with the books for the days it covers. ``paid_rate`` is what its USD were bought at.

    Raises ``StatementError`` where it reaches into a month whose calls were retired.
    """
    first, last = min(day for day, _ in statement), max(day for day, _ in statement)
    # A day of the provider's zone may begin a day before the month in Seoul does, and end after it.
    months = {"first": f"{first - dt.timedelta(days=1):%Y%m}", "last": f"{last + dt.timedelta(days=1):%Y%m}"}
    if gone := connection.execute(_RETIRED, months).scalar_one_or_none():
        raise StatementError(f"the calls of {gone} were retired: there is nothing to compare a statement with")
    books = _books(connection, provider, first, last, zone, {model for _, model in statement})
    differences: list[Difference] = []
    for key in sorted(statement.keys() | books.keys()):
        differences += _differences(key, statement.get(key), books.get(key))
    usd = add_exact(figures.usd for figures in statement.values())
    books_usd = add_exact(figures.usd for figures in books.values())
    at_rate = add_exact(figures.at_rate for figures in books.values())
    charged = add_exact(figures.won for figures in books.values())
    # The statement's USD at the calls' own average rate: shares of exact sums, shown to a millionth of a won.
    cost = (usd * at_rate / books_usd).quantize(Decimal("0.000001")) if books_usd else ZERO
    exchange = None if paid_rate is None else EXACT.subtract(cost, EXACT.multiply(usd, paid_rate))
    margin = EXACT.subtract(charged, cost)
    return Result(provider, first, last, usd, books_usd, charged, margin, exchange, tuple(differences))


def keep(connection: Connection, raw: bytes, result: Result, actor: str) -> bool:
    """Stores the result once per file. Returns False where the file was imported before."""
    digest = hashlib.sha256(raw).hexdigest()
    kept = connection.execute(
        text(
            "INSERT INTO provider_statement (provider, digest, first_day, last_day, result, imported_by) "
            "VALUES (:provider, :digest, :first, :last, CAST(:result AS jsonb), :actor) ON CONFLICT (digest) DO NOTHING"
        ),
        {
            "provider": result.provider, "digest": digest, "first": result.first, "last": result.last,
            "result": json.dumps(result.shown()), "actor": actor,
        },
    )  # fmt: skip
    details = {"digest": digest, "differences": len(result.differences)}
    connection.execute(
        audit_log.insert().values(actor=actor, action="statement.import", subject=result.provider, details=details)
    )
    return bool(kept.rowcount)


def _books(
    connection: Connection, provider: str, first: dt.date, last: dt.date, zone: str, names: Iterable[str]
) -> Lines:
    since = dt.datetime.combine(first, dt.time(), ZoneInfo(zone))
    until = dt.datetime.combine(last + dt.timedelta(days=1), dt.time(), ZoneInfo(zone))
    asked = {"provider": provider, "zone": zone, "since": _first_id(since), "until": _first_id(until)}
    known, found = set(names), Lines()
    for row in connection.execute(_BOOKS, asked):
        name = row.upstream if row.upstream in known else row.model
        figures = found.setdefault((row.day, name), Figures())
        figures.prompt += int(row.prompt)
        figures.completion += int(row.completion)
        for what in ("usd", "won", "at_rate"):
            setattr(figures, what, EXACT.add(getattr(figures, what), Decimal(getattr(row, what) or 0)))
    return found


def _differences(key: tuple[dt.date, str], theirs: Figures | None, ours: Figures | None) -> list[Difference]:
    day, model = key
    if theirs is None:
        assert ours is not None
        return [Difference(day, model, "only in our books", -_tokens(ours), EXACT.minus(ours.usd))]
    if ours is None:
        return [Difference(day, model, "only on the statement", _tokens(theirs), theirs.usd)]
    usd, tokens = EXACT.subtract(theirs.usd, ours.usd), _tokens(theirs) - _tokens(ours)
    if (theirs.prompt, theirs.completion) != (ours.prompt, ours.completion):
        return [Difference(day, model, "other token counts", tokens, usd)]
    if not usd:
        return []
    return [Difference(day, model, "rounding" if abs(usd) < CENT else "another price", 0, usd)]


def _tokens(figures: Figures) -> int:
    return figures.prompt + figures.completion


def _first_id(moment: dt.datetime) -> str:
    return f"{int(moment.timestamp() * 1000):012x}" + "0" * 20


def summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """The sums without the list, for a terminal."""
    return {name: value for name, value in result.items() if name != "differences"}
