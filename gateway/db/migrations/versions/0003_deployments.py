"""Deployments: accounts at providers, their keys sealed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003_deployments"
down_revision = "0002_ledger"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deployment",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("base_url", sa.Text, nullable=False),
        sa.Column("upstream_model", sa.Text, nullable=False),
        sa.Column("api_key", sa.LargeBinary, nullable=False),
        sa.Column("weight", sa.Integer, nullable=False),
        sa.Column("region", sa.Text),
        sa.Column("domestic", sa.Boolean, nullable=False),
        sa.Column("no_training", sa.Boolean, nullable=False),
        sa.Column("options", JSONB, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.CheckConstraint("source IN ('file', 'environment')", name="source"),
        sa.CheckConstraint("weight BETWEEN 0 AND 1000", name="weight"),
    )
    op.execute("GRANT SELECT ON deployment TO wonrouter_worker")
    # the front end lists what can be called; keys are nothing to it
    op.execute(
        "GRANT SELECT (id, source, position, model, provider, weight, region, domestic, no_training) ON deployment TO wonrouter_api"
    )
    # billing asks the same catalogue which models can be called
    op.execute(
        "GRANT SELECT (id, model, provider, upstream_model, weight, region, domestic, no_training) ON deployment TO wonrouter_billing"
    )


def downgrade() -> None:
    op.drop_table("deployment")
