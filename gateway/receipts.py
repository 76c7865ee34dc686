"""What the front end reads from the books: one call's receipt, an organisation's credit. SELECT only.

Amounts are exact and travel as text. A receipt holds all that is needed to work the charge out by hand: for each
part ``(prompt_tokens x input_usd + completion_tokens x output_usd) x rate / 1,000,000`` won, and their sum.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.errors import Gone
from gateway.money import exact, won_half_up, won_text
from gateway.wire import ids

_RECEIPT = text("SELECT * FROM usage WHERE month = :month AND job = CAST(:job AS uuid) AND org = CAST(:org AS uuid)")
_RETIRED = text("SELECT retired_at FROM usage_retirement WHERE month = :month")
_CREDITS = text(
    "SELECT coalesce(-sum(b.won) FILTER (WHERE a.kind = 'wallet'), 0) AS balance, "
    "coalesce(-sum(b.won) FILTER (WHERE a.kind IN ('revenue', 'loss_unbilled')), 0) AS used, "
    "(SELECT coalesce(sum(amount), 0) FROM lot WHERE org = CAST(:org AS uuid)) AS granted "
    "FROM account a JOIN account_balance b ON b.account = a.id WHERE a.org = CAST(:org AS uuid)"
)


async def receipt(engine: AsyncEngine, job: str, org: str) -> dict[str, Any] | None:
    """The receipt of a call of this organisation; None where it has none (yet): settlement follows within a second.

    ``job`` is the id without prefix (``gateway.wire.ids.from_public``). Raises ``Gone`` where the calls of its month
    were retired.
    """
    if not _is_job(job):
        return None
    month = ids.month_of(ids.milliseconds(job))
    async with engine.connect() as connection:
        rows = await connection.execute(_RECEIPT, {"month": month, "job": job, "org": org})
        found = rows.mappings().one_or_none()
        if found is None and (gone := (await connection.execute(_RETIRED, {"month": month})).scalar_one_or_none()):
            raise Gone(
                f"The calls of {month[:4]}-{month[4:]} were retired on {gone.astimezone(ids.SEOUL):%Y-%m-%d}, after the "
                "time that the law asks for. Their sums remain in the invoice."
            )
    return None if found is None else _receipt(found)


async def credits_of(engine: AsyncEngine, org: str) -> dict[str, str]:
    """Won as exact text: ``granted`` by top-ups, ``used`` by settled calls, ``balance`` of the prepaid wallet."""
    async with engine.connect() as connection:
        row = (await connection.execute(_CREDITS, {"org": org})).one()
    return {
        "balance": won_text(Decimal(row.balance)),
        "granted": won_text(Decimal(row.granted)),
        "used": won_text(Decimal(row.used)),
    }


def _is_job(job: str) -> bool:
    try:
        return uuid.UUID(job).version == 7
    except ValueError:
        return False


def _receipt(row: RowMapping) -> dict[str, Any]:
    won: Decimal = row["won"]
    return {
        "id": ids.public(row["job"].hex),
        "object": "generation",
        "model": row["model"],
        "requested_model": row["asked"],
        "provider": row["provider"],
        "surface": row["surface"],
        "endpoint": row["endpoint"],
        "stream": row["stream"],
        "title": row["title"],
        "created_at": row["admitted_at"].isoformat(),
        "settled_at": row["settled_at"].isoformat(),
        "billing_month": row["month"],
        "outcome": row["outcome"],
        "finish_reason": row["finish_reason"],
        "error": row["error"],
        "estimated": row["estimated"],
        "usage": {
            "prompt_tokens": row["prompt_tokens"],
            "completion_tokens": row["completion_tokens"],
            "total_tokens": row["prompt_tokens"] + row["completion_tokens"],
            "cached_tokens": row["cached_tokens"],
            "cache_write_tokens": row["cache_write_5m_tokens"] + row["cache_write_1h_tokens"],
            "reasoning_tokens": row["reasoning_tokens"],
            "image_tokens": row["image_tokens"],
            "searches": row["searches"],
        },
        "cost_krw": won_text(won),
        "rounding": {
            "exact_krw": won_text(won),
            "window_krw": won_text(Decimal(row["micro"]).scaleb(-6)),
            "display_krw": won_half_up(won),
            "rule": "charged exactly; rounded down to a whole won once per invoice",
        },
        "not_charged_krw": won_text(row["loss_won"]),
        "formula": "(prompt_tokens * input_usd + completion_tokens * output_usd) * rate / 1000000, summed over charges",
        "charges": [_charge(part) for part in row["parts"]],
        "attempts": [_attempt(attempt) for attempt in row["attempts"]],
        "first_token_ms": row["first_token_ms"],
        "duration_ms": row["duration_ms"],
    }


def _charge(part: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": part["model"],
        "prompt_tokens": part["prompt"],
        "completion_tokens": part["completion"],
        "input_usd_per_1m": _plain(part["input_usd"]),
        "output_usd_per_1m": _plain(part["output_usd"]),
        "tier": part["tier"],
        "krw_per_usd": _plain(part["rate"]),
        "price_id": part["price_id"],
        "rate_id": part["rate_id"],
        "cost_krw": _plain(part["won"]),
    }


def _attempt(attempt: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": attempt["n"],
        "model": attempt["model"],
        "provider": attempt["provider"],
        "response_id": attempt.get("upstream_id"),
        "request_id": attempt["client_request_id"],
        "status": attempt.get("status", 0),
        "reason": attempt.get("reason", ""),
        "billed": attempt.get("billed", False),
        "cost_krw": _plain(attempt.get("won", "0")),
        "started_ms": attempt["started_ms"],
        "first_ms": attempt.get("first_ms"),
        "ended_ms": attempt.get("ended_ms"),
    }


def _plain(number: str) -> str:
    return won_text(exact(number))
