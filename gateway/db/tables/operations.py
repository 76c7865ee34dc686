"""What the dashboards and the operator's pages keep: how long calls took, weights that were set by hand."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.db.base import MOMENT, metadata

usage_latency = sa.Table(
    "usage_latency",
    metadata,
    sa.Column("org", sa.Uuid, primary_key=True),
    # of Seoul
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("key", sa.Uuid, primary_key=True),
    sa.Column("measure", sa.Text, primary_key=True),
    # number of the bucket in gateway.accounts.latency.BOUNDS_MS
    sa.Column("bucket", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.CheckConstraint("measure IN ('first', 'whole')", name="measure"),
    sa.CheckConstraint("calls > 0", name="calls"),
)

deployment_weight = sa.Table(
    "deployment_weight",
    metadata,
    # goes before the weight in the deployment's own row, which each source replaces as a whole
    sa.Column("deployment", sa.Text, primary_key=True),
    sa.Column("weight", sa.Integer, nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
    sa.Column("changed_at", MOMENT, nullable=False, server_default=sa.text("now()")),
    sa.CheckConstraint("weight BETWEEN 0 AND 1000", name="weight"),
)
