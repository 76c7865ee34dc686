"""The one metadata object, and the column types that money and time use everywhere."""

from __future__ import annotations

from sqlalchemy import BigInteger, DateTime, MetaData, Numeric

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

WON = Numeric(38, 16)
"""Exact won: price (6 decimals) x rate (4 decimals) / 10^6 needs 16 decimals."""
USD_PER_1M = Numeric(18, 6)
RATE = Numeric(12, 4)
"""Won per USD."""
MICRO = BigInteger
"""Micro-won (10^-6 won) as an integer."""
MOMENT = DateTime(timezone=True)
