"""What providers charge us: list prices per provider and model over time. Where none is entered, the catalogue's hold."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.db.base import MOMENT, USD_PER_1M, metadata

_NOW = sa.text("now()")

provider_price = sa.Table(
    "provider_price",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("effective_from", MOMENT, primary_key=True),
    sa.Column("input_usd", USD_PER_1M, nullable=False),
    sa.Column("output_usd", USD_PER_1M, nullable=False),
    # NULL: as input, or for images as output
    sa.Column("cached_usd", USD_PER_1M),
    sa.Column("cache_write_5m_usd", USD_PER_1M),
    sa.Column("cache_write_1h_usd", USD_PER_1M),
    sa.Column("image_usd", USD_PER_1M),
    # per search, not per million
    sa.Column("search_usd", USD_PER_1M),
    sa.Column("entered_by", sa.Text, nullable=False),
    sa.Column("entered_at", MOMENT, nullable=False, server_default=_NOW),
    # a provider that charges nothing (one's own machines) has the price 0
    sa.CheckConstraint("input_usd >= 0 AND output_usd >= 0", name="prices"),
)
