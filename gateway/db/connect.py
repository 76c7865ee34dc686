"""Engines, built in one place. URLs are plain ``postgresql://…``; the driver is psycopg everywhere."""

from __future__ import annotations

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 30_000
"""No statement of a request may hold a connection longer; month-end work sets its own."""


def engine(url: str, *, pool_size: int = 5, statement_timeout_ms: int | None = STATEMENT_TIMEOUT_MS) -> Engine:
    """A blocking engine, for billing, workers' look-ups and the command line."""
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=5,
        pool_pre_ping=True,
        connect_args=_connect_args(statement_timeout_ms),
    )


def async_engine(url: str, *, pool_size: int = 10) -> AsyncEngine:
    """An asyncio engine, for the front end."""
    return create_async_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=10,
        pool_pre_ping=True,
        pool_timeout=CONNECT_TIMEOUT_S,
        connect_args=_connect_args(STATEMENT_TIMEOUT_MS),
    )


def _connect_args(statement_timeout_ms: int | None) -> dict[str, object]:
    options = "-c timezone=UTC"
    if statement_timeout_ms is not None:
        options += f" -c statement_timeout={statement_timeout_ms}"
    return {"connect_timeout": CONNECT_TIMEOUT_S, "options": options}
