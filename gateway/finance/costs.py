"""What providers charge us, what is left of what customers pay, and which models are sold below their cost."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, text

from gateway.money import EXACT, won_text

By = Literal["model", "provider", "organization", "day"]
_COLUMNS = {"model": "u.model", "provider": "u.provider", "organization": "o.name", "day": "CAST(u.day AS text)"}
_PRICES = (
    "input_usd", "output_usd", "cached_usd", "cache_write_5m_usd", "cache_write_1h_usd", "image_usd", "search_usd",
)  # fmt: skip
_MARGINS = """
SELECT {column} AS name, sum(u.calls) AS calls, sum(u.won) AS won, sum(u.cost_usd) AS cost_usd, sum(u.cost_won) AS cost_won,
    sum(u.uncosted) AS uncosted
FROM usage_day u JOIN organisation o ON o.id = u.org WHERE u.day >= :first AND u.day <= :last
GROUP BY 1 ORDER BY sum(u.won) - sum(u.cost_won), 1
"""
_BELOW = text("""
SELECT c.provider, c.model, s.input_usd, s.output_usd, c.input_usd AS cost_input_usd, c.output_usd AS cost_output_usd
FROM (SELECT DISTINCT ON (provider, model) * FROM provider_price WHERE effective_from <= now()
    ORDER BY provider, model, effective_from DESC) c
JOIN (SELECT DISTINCT ON (model) * FROM price WHERE effective_from <= now() ORDER BY model, effective_from DESC) s
    USING (model)
WHERE s.input_usd < c.input_usd OR s.output_usd < c.output_usd ORDER BY c.model, c.provider
""")


class Margin(msgspec.Struct, frozen=True):
    """What customers were charged and what it cost, at the rates of the calls; ``uncosted`` calls had no known cost.

    Charged is before promotions. What the USD cost when they were bought is another matter: see provider statements.
    """

    name: str
    calls: int
    charged_krw: str
    cost_usd: str
    cost_krw: str
    margin_krw: str
    uncosted: int


class BelowCost(msgspec.Struct, frozen=True):
    """A model whose price now is below what a provider charges for it. USD per 1M tokens."""

    provider: str
    model: str
    input_usd: str
    output_usd: str
    cost_input_usd: str
    cost_output_usd: str


def margins(connection: Connection, first: dt.date, last: dt.date, by: By) -> Sequence[Margin]:
    """Days ``first`` to ``last`` (Seoul), the worst margin first. The provider is the one that answered."""
    found = connection.execute(text(_MARGINS.format(column=_COLUMNS[by])), {"first": first, "last": last})
    return [
        Margin(
            row.name, int(row.calls), won_text(Decimal(row.won)), won_text(Decimal(row.cost_usd)),
            won_text(Decimal(row.cost_won)), won_text(EXACT.subtract(Decimal(row.won), Decimal(row.cost_won))),
            int(row.uncosted),
        )
        for row in found
    ]  # fmt: skip


def below_cost(connection: Connection) -> Sequence[BelowCost]:
    """Models that are sold below cost at this moment."""
    return [
        BelowCost(
            row.provider, row.model, won_text(row.input_usd), won_text(row.output_usd), won_text(row.cost_input_usd),
            won_text(row.cost_output_usd),
        )
        for row in connection.execute(_BELOW)
    ]  # fmt: skip


def listed(connection: Connection, provider: str | None = None, model: str | None = None) -> list[dict[str, Any]]:
    """Every price entered of every provider, newest first. USD per 1M tokens; searches each."""
    rows = connection.execute(
        text(
            "SELECT * FROM provider_price WHERE (CAST(:provider AS text) IS NULL OR provider = :provider) "
            "AND (CAST(:model AS text) IS NULL OR model = :model) ORDER BY provider, model, effective_from DESC"
        ),
        {"provider": provider, "model": model},
    ).mappings()
    return [
        {"provider": row["provider"], "model": row["model"], "effective_from": row["effective_from"].isoformat()}
        | {name: None if row[name] is None else won_text(row[name]) for name in _PRICES}
        | {"entered_by": row["entered_by"]}
        for row in rows
    ]
