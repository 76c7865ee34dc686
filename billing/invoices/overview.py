"""How far a month's close is, for people."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from billing.invoices.collecting import NotCollectedError, check_month, is_over
from gateway.invoices.month import month_end


def standing(redis: Any, connection: Connection, month: str) -> str:
    """``open`` while the month runs, ``collecting`` and what is missing, or ``collected``."""
    if not is_over(redis, month_end(month)):
        return "open"
    try:
        check_month(redis, connection, month)
    except NotCollectedError as reason:
        return f"collecting: {reason}"
    return "collected"
