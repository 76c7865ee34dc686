"""Prices and exchange rates over time, models' states, and the window's epoch.

Prices and rates are never changed: a new one takes effect at a later moment, and every usage row names the two it was
charged with. A trigger refuses changes even to the tables' owner.
"""

from __future__ import annotations

import sqlalchemy as sa

from gateway.db.base import MOMENT, RATE, USD_PER_1M, metadata

_NOW = sa.text("now()")

price = sa.Table(
    "price",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("effective_from", MOMENT, nullable=False),
    sa.Column("input_usd", USD_PER_1M, nullable=False),
    sa.Column("output_usd", USD_PER_1M, nullable=False),
    # input tokens above which the over_ prices hold for the whole request
    sa.Column("threshold", sa.Integer),
    sa.Column("over_input_usd", USD_PER_1M),
    sa.Column("over_output_usd", USD_PER_1M),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("created_at", MOMENT, nullable=False, server_default=_NOW),
    # two prices of one model at one moment would be a guess
    sa.UniqueConstraint("model", "effective_from"),
    # a model without a price is never free: it is refused
    sa.CheckConstraint("input_usd > 0 AND output_usd > 0", name="positive"),
    sa.CheckConstraint(
        "num_nonnulls(threshold, over_input_usd, over_output_usd) IN (0, 3)"
        " AND coalesce(threshold, 1) > 0 AND coalesce(over_input_usd, 1) > 0 AND coalesce(over_output_usd, 1) > 0",
        name="tier",
    ),
)

exchange_rate = sa.Table(
    "exchange_rate",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    # the Seoul date it was published for
    sa.Column("date", sa.Date, nullable=False),
    sa.Column("rate", RATE, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("effective_from", MOMENT, nullable=False),
    sa.Column("created_at", MOMENT, nullable=False, server_default=_NOW),
    sa.CheckConstraint("rate > 0", name="rate"),
)

model_state = sa.Table(
    "model_state",
    metadata,
    # overrides what the packaged catalogue says of a model
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.CheckConstraint("state IN ('active', 'withdrawn', 'disabled')", name="state"),
)

window_epoch = sa.Table(
    "window_epoch",
    metadata,
    # one row per Redis; every organisation belongs to one of them
    sa.Column("cell", sa.Text, primary_key=True, server_default="main"),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    # the Redis server process the window was built in: another one means it restarted
    sa.Column("redis_run_id", sa.Text),
    sa.Column("changed_at", MOMENT, nullable=False, server_default=_NOW),
)
