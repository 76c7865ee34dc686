"""Usage as lines of JSON: what ``wonrouter usage`` prints. Read with a server-side cursor, so memory stays small."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, text

from gateway.accounts import retired
from gateway.accounts.retired import RetiredError
from gateway.money import won_text
from gateway.wire import ids

FETCHED = 1_000

_SELECT = """
SELECT job, org, key, month, asked, model, provider, deployment, surface, endpoint, stream, title, user_hash, outcome,
       finish_reason, error, estimated, prompt_tokens, completion_tokens, cached_tokens, cache_write_5m_tokens,
       cache_write_1h_tokens, reasoning_tokens, image_tokens, searches, won, micro, loss_won, price_id, rate_id,
       input_usd, output_usd, rate, tier, parts, attempts, first_token_ms, duration_ms, admitted_at, settled_at, trace
FROM usage
WHERE job >= CAST(:since AS uuid) AND job < CAST(:until AS uuid)
  AND (CAST(:org AS uuid) IS NULL OR org = CAST(:org AS uuid))
  AND (CAST(:month AS text) IS NULL OR month = :month)
ORDER BY month, job
"""


def usage_lines(
    engine: Engine,
    *,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    org: str | None = None,
    month: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Settled usage, oldest first. ``since`` (included) and ``until`` (not) are compared with the admission's time.

    Job ids rise with that time, so both become bounds on the id and the index finds them. Raises ``RetiredError`` where
    ``month`` has only sums left.
    """
    bounds = {
        "since": _first_id(since) if since else "00000000-0000-0000-0000-000000000000",
        "until": _first_id(until) if until else "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "org": org,
        "month": month,
    }
    with engine.connect() as connection:
        gone = None if month is None else retired.since(connection, month)
        if gone is not None:
            raise RetiredError(f"the calls of {month} were retired on {gone.astimezone(ids.SEOUL):%Y-%m-%d}")
        rows = (
            connection.execution_options(stream_results=True, yield_per=FETCHED)
            .execute(text(_SELECT), bounds)
            .mappings()
        )
        for row in rows:
            yield line(row)


def line(row: Any) -> dict[str, Any]:
    """One usage row as an object. Amounts in won and prices are exact and travel as text."""
    return {
        "id": ids.public(row["job"].hex),
        "model": row["model"],
        "prompt_tokens": row["prompt_tokens"],
        "completion_tokens": row["completion_tokens"],
        "cost_krw": won_text(row["won"]),
        "estimated": row["estimated"],
        "outcome": row["outcome"],
        "attempts": [_attempt(attempt) for attempt in row["attempts"]],
        "org": str(row["org"]),
        "key": str(row["key"]),
        "title": row["title"],
        "user_hash": row["user_hash"],
        "admitted_at": row["admitted_at"].isoformat(),
        "settled_at": row["settled_at"].isoformat(),
        "month": row["month"],
        "asked": row["asked"],
        "provider": row["provider"],
        "deployment": row["deployment"],
        "surface": row["surface"],
        "endpoint": row["endpoint"],
        "stream": row["stream"],
        "finish_reason": row["finish_reason"],
        "error": row["error"],
        "cached_tokens": row["cached_tokens"],
        "cache_write_tokens": row["cache_write_5m_tokens"] + row["cache_write_1h_tokens"],
        "reasoning_tokens": row["reasoning_tokens"],
        "image_tokens": row["image_tokens"],
        "searches": row["searches"],
        "micro_won": row["micro"],
        "loss_krw": won_text(row["loss_won"]),
        "price_id": row["price_id"],
        "rate_id": row["rate_id"],
        "input_usd": _text(row["input_usd"]),
        "output_usd": _text(row["output_usd"]),
        "rate": _text(row["rate"]),
        "tier": row["tier"],
        "parts": row["parts"],
        "first_token_ms": row["first_token_ms"],
        "duration_ms": row["duration_ms"],
        "trace": row["trace"],
    }


def _attempt(attempt: dict[str, Any]) -> dict[str, Any]:
    """An attempt as events carry it leaves out what has its usual value; here every field stands."""
    return {
        "upstream_id": attempt.get("upstream_id"),
        "client_request_id": attempt["client_request_id"],
        "deployment": attempt["deployment"],
        "provider": attempt["provider"],
        "model": attempt["model"],
        "billed": attempt.get("billed", False),
        "won": attempt.get("won", "0"),
        "reason": attempt.get("reason", ""),
        "status": attempt.get("status", 0),
        "tokens": attempt.get("tokens", {}),
        "started_ms": attempt["started_ms"],
        "first_ms": attempt.get("first_ms"),
        "ended_ms": attempt.get("ended_ms"),
        "epoch": attempt["epoch"],
        "n": attempt["n"],
    }


def _text(value: Any) -> str | None:
    return None if value is None else won_text(value)


def _first_id(moment: dt.datetime) -> str:
    """The smallest job id of that moment."""
    return f"{int(moment.timestamp() * 1000):012x}" + "0" * 20
