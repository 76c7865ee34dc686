"""Months whose calls were retired: who agreed to it, and the sums and digests that stay. Migration 0016 says how."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.db.base import MICRO, MOMENT, WON, metadata


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


usage_retirement = sa.Table(
    "usage_retirement",
    metadata,
    sa.Column("month", sa.Text, primary_key=True),
    # two people of the operator; both NULL: the billing process, as its settings say
    sa.Column("asked_by", sa.Uuid),
    sa.Column("asked_at", MOMENT, nullable=False, server_default=sa.text("now()")),
    sa.Column("confirmed_by", sa.Uuid),
    # NULL: somebody has asked, nobody confirmed
    sa.Column("retired_at", MOMENT),
    sa.CheckConstraint("asked_by <> confirmed_by", name="two_people"),
    sa.CheckConstraint("retired_at IS NULL OR (asked_by IS NULL) = (confirmed_by IS NULL)", name="people"),
)

usage_retired = sa.Table(
    "usage_retired",
    metadata,
    sa.Column("month", sa.Text, primary_key=True),
    sa.Column("org", sa.Uuid, primary_key=True),
    sa.Column("key", sa.Uuid, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("prepaid", sa.Boolean, primary_key=True),
    _count("calls"),
    _count("prompt_tokens"),
    _count("cached_tokens"),
    _count("completion_tokens"),
    sa.Column("won", WON, nullable=False),
    sa.Column("loss_won", WON, nullable=False),
    sa.Column("micro", MICRO, nullable=False),
    # calls without a cost are counted as uncosted and add nothing
    sa.Column("cost_usd", WON, nullable=False),
    sa.Column("cost_won", WON, nullable=False),
    _count("uncosted"),
    # SHA-256 over the SHA-256 of each row's JSON (as PostgreSQL writes it, times in UTC), in the order of the job ids
    sa.Column("digest", sa.Text, nullable=False),
    sa.CheckConstraint("digest ~ '^[0-9a-f]{64}$'", name="digest"),
)
