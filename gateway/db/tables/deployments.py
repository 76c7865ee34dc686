"""Deployments: accounts at providers through which models are reached."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from gateway.db.base import MOMENT, metadata

deployment = sa.Table(
    "deployment",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    # what wrote it: each source replaces its own rows as a whole
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("base_url", sa.Text, nullable=False),
    sa.Column("upstream_model", sa.Text, nullable=False),
    # sealed under the id; never plain at rest
    sa.Column("api_key", sa.LargeBinary, nullable=False),
    sa.Column("weight", sa.Integer, nullable=False),
    sa.Column("region", sa.Text),
    sa.Column("domestic", sa.Boolean, nullable=False),
    sa.Column("no_training", sa.Boolean, nullable=False),
    sa.Column("options", JSONB, nullable=False),
    sa.Column("created_at", MOMENT, nullable=False, server_default=sa.text("now()")),
    sa.CheckConstraint("source IN ('file', 'environment')", name="source"),
    sa.CheckConstraint("weight BETWEEN 0 AND 1000", name="weight"),
)
