"""How long data is kept, what was deleted, and what the guardrails did. Migration 0013 says who may delete, and how."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from gateway.db.base import MOMENT, metadata

_NOW = sa.text("now()")

retention_setting = sa.Table(
    "retention_setting",
    metadata,
    # one of gateway.accounts.retention's classes; without a row its default counts
    sa.Column("class", sa.Text, primary_key=True),
    sa.Column("days", sa.Integer, nullable=False),
    sa.Column("changed_at", MOMENT, nullable=False, server_default=_NOW),
    sa.CheckConstraint("days >= 0", name="days"),
)

deletion_proof = sa.Table(
    "deletion_proof",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("at", MOMENT, nullable=False, server_default=_NOW),
    sa.Column("class", sa.Text, nullable=False),
    # NULL: what belongs to no organisation
    sa.Column("org", sa.Uuid),
    # an end user's keyed hash where one person's records were erased
    sa.Column("subject", sa.Text, nullable=False, server_default=""),
    sa.Column("cut_off", MOMENT, nullable=False),
    sa.Column("records", sa.BigInteger, nullable=False),
    # SHA-256 over the ids of the records, one a line, in order
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.CheckConstraint("digest ~ '^[0-9a-f]{64}$'", name="digest"),
    sa.Index("ix_deletion_proof_org", "org", "id"),
)

guardrail_event = sa.Table(
    "guardrail_event",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("at", MOMENT, nullable=False),
    sa.Column("org", sa.Uuid, nullable=False),
    sa.Column("key", sa.Uuid, nullable=False),
    # the call's public id; empty where it was refused before there was one
    sa.Column("call", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    # kind -> how many; never what
    sa.Column("kinds", JSONB, nullable=False),
    sa.CheckConstraint("outcome IN ('masked', 'blocked', 'word')", name="outcome"),
    sa.CheckConstraint("place IN ('request', 'answer')", name="place"),
    sa.Index("ix_guardrail_event_org", "org", "id"),
    sa.Index("ix_guardrail_event_at", "at"),
)
