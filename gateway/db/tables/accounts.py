"""Organisations, people, keys, their audit log, top-up requests, and the outbox that carries changes to the window."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from gateway.db.base import MICRO, MOMENT, metadata

LIMIT_WON = sa.Numeric(16, 6)
"""A limit in won: at most 9,000,000,000 (what Redis's doubles count exactly), no finer than micro-won."""
MOST_WON = 9_000_000_000

_NOW = sa.text("now()")
_NO = sa.text("false")
_ONE = sa.text("1")


def _limits(*columns: str) -> list[sa.CheckConstraint]:
    """Counting limits are at least 0 (0 = nothing passes); no limit is NULL."""
    return [sa.CheckConstraint(f"{column} >= 0", name=column) for column in columns]


organisation = sa.Table(
    "organisation",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("billing", sa.Text, nullable=False),
    sa.Column("policy", sa.Text, nullable=False, server_default="optimistic"),
    sa.Column("month_limit_won", LIMIT_WON),
    sa.Column("rpm", sa.Integer),
    sa.Column("concurrency", sa.Integer),
    sa.Column("tpm", sa.Integer),
    # limits by model; gateway.accounts.model_limits names the shape
    sa.Column("model_limits", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    # raised with every change that admission must see; the window compares it
    sa.Column("version", sa.BigInteger, nullable=False, server_default=_ONE),
    sa.Column("state", sa.Text, nullable=False, server_default="active"),
    sa.Column("created_at", MOMENT, nullable=False, server_default=_NOW),
    sa.Column("domestic_only", sa.Boolean, nullable=False, server_default=_NO),
    sa.Column("no_training", sa.Boolean, nullable=False, server_default=_NO),
    # what only the front end reads: fallbacks, mask_kinds, mask_output (gateway.accounts.store names the shape)
    sa.Column("settings", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.CheckConstraint("billing IN ('prepaid', 'postpaid')", name="billing"),
    sa.CheckConstraint("policy IN ('strict', 'optimistic')", name="policy"),
    sa.CheckConstraint("state IN ('active', 'suspended', 'closed')", name="state"),
    sa.CheckConstraint(f"month_limit_won BETWEEN 0 AND {MOST_WON}", name="month_limit_won"),
    *_limits("rpm", "concurrency", "tpm"),
)

person = sa.Table(
    "person",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    # stored in lower case: an address is one person however it is typed
    sa.Column("email", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    # argon2id; NULL = signs in elsewhere, or was invited and has not chosen one
    sa.Column("password_hash", sa.Text),
    sa.Column("state", sa.Text, nullable=False, server_default="active"),
    # runs the installation, whatever the organisation
    sa.Column("operator", sa.Boolean, nullable=False, server_default=_NO),
    sa.Column("created_at", MOMENT, nullable=False, server_default=_NOW),
    sa.CheckConstraint("email = lower(email)", name="email"),
    sa.CheckConstraint("state IN ('active', 'deactivated')", name="state"),
)

membership = sa.Table(
    "membership",
    metadata,
    sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), primary_key=True),
    sa.Column("person", sa.Uuid, sa.ForeignKey("person.id"), primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="active"),
    sa.Column("created_at", MOMENT, nullable=False, server_default=_NOW),
    sa.CheckConstraint("role IN ('owner', 'member', 'finance')", name="role"),
    sa.CheckConstraint("state IN ('active', 'left')", name="state"),
    sa.Index("ix_membership_person", "person"),
)

api_key = sa.Table(
    "api_key",
    metadata,
    # for sk-br-v1 keys the UUID inside the key
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), nullable=False),
    # whose rights the key has; NULL = made by the operator for the organisation: an owner's
    sa.Column("created_by", sa.Uuid, sa.ForeignKey("person.id")),
    sa.Column("name", sa.Text, nullable=False),
    # `console`: no secret opens it; what a session calls models with (gateway.accounts.console_keys)
    sa.Column("kind", sa.Text, nullable=False, server_default=sa.text("'key'")),
    sa.Column("surface", sa.Text, nullable=False),
    # SHA-256 of the whole key: all that is kept of the secret
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
    # A rotated key keeps its row, so that its limit, spending and usage go on. The secret before the last rotation
    # may work for a grace period.
    sa.Column("previous_hash", sa.LargeBinary, unique=True),
    sa.Column("previous_until", MOMENT),
    # first and last characters, enough to tell keys apart
    sa.Column("hint", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="active"),
    sa.Column("version", sa.BigInteger, nullable=False, server_default=_ONE),
    sa.Column("limit_won", LIMIT_WON),
    sa.Column("rpm", sa.Integer),
    sa.Column("concurrency", sa.Integer),
    sa.Column("tpm", sa.Integer),
    sa.Column("model_limits", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    # NULL = every model
    sa.Column("models", ARRAY(sa.Text)),
    sa.Column("expires_at", MOMENT),
    sa.Column("last_used_at", MOMENT),
    sa.Column("created_at", MOMENT, nullable=False, server_default=_NOW),
    sa.Column("rotated_at", MOMENT),
    sa.Column("revoked_at", MOMENT),
    sa.CheckConstraint("surface IN ('bizrouter', 'krouter')", name="surface"),
    sa.CheckConstraint("state IN ('active', 'deactivated', 'deleted')", name="state"),
    sa.CheckConstraint("octet_length(hash) = 32", name="hash"),
    sa.CheckConstraint("(previous_hash IS NULL) = (previous_until IS NULL)", name="previous"),
    sa.CheckConstraint(f"limit_won BETWEEN 0 AND {MOST_WON}", name="limit_won"),
    sa.CheckConstraint("kind IN ('key', 'console')", name="kind"),
    *_limits("rpm", "concurrency", "tpm"),
    sa.Index("ix_api_key_org", "org", "created_at"),
    sa.Index("uq_api_key_console", "org", "created_by", unique=True, postgresql_where=sa.text("kind = 'console'")),
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("at", MOMENT, nullable=False, server_default=_NOW),
    # a person's id, or `operator` for the command line, or a process's name
    sa.Column("actor", sa.Text, nullable=False),
    # no foreign key: the log outlives what it tells of
    sa.Column("org", sa.Uuid),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("details", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Index("ix_audit_log_org", "org", "id"),
    sa.Index("ix_audit_log_at", "at"),
)

topup_request = sa.Table(
    "topup_request",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), nullable=False),
    # credit net of VAT, in whole won
    sa.Column("amount_won", sa.BigInteger, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    # the payment's own reference: what makes booking idempotent
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="pending"),
    sa.Column("created_at", MOMENT, nullable=False, server_default=_NOW),
    sa.Column("booked_at", MOMENT),
    # promotional credit may lapse; paid credit does not
    sa.Column("expires_at", MOMENT),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.UniqueConstraint("org", "reference"),
    sa.CheckConstraint("method IN ('transfer', 'card', 'promotion')", name="method"),
    sa.CheckConstraint("state IN ('pending', 'booked', 'refused')", name="state"),
    sa.CheckConstraint(f"amount_won BETWEEN 1 AND {MOST_WON}", name="amount_won"),
    sa.CheckConstraint("expires_at IS NULL OR method = 'promotion'", name="expires_at"),
    # billing's loop looks for pending rows only, and they are few among many
    sa.Index("ix_topup_request_pending", "created_at", postgresql_where=sa.text("state = 'pending'")),
)

organisation_seq = sa.Table(
    "organisation_seq",
    metadata,
    sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), primary_key=True),
    # The last outbox number. Whoever takes the next one holds the row's lock until it commits, so numbers become
    # visible in order and without gaps, which a sequence would not promise.
    sa.Column("seq", sa.BigInteger, nullable=False),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("balance_micro", MICRO, nullable=False, server_default=sa.text("0")),
    sa.Column("org_version", sa.BigInteger),
    sa.Column("key", sa.Uuid),
    sa.Column("key_version", sa.BigInteger),
    sa.Column("key_spent_micro", MICRO, nullable=False, server_default=sa.text("0")),
    sa.Column("month", sa.Text),
    sa.Column("month_spent_micro", MICRO, nullable=False, server_default=sa.text("0")),
    sa.Column("news", sa.LargeBinary, nullable=False, server_default=sa.text("''::bytea")),
    sa.Column("created_at", MOMENT, nullable=False, server_default=_NOW),
    sa.Column("applied_at", MOMENT),
    # the relay reads what waits, in order; applied rows stay for a while as evidence
    sa.Index("ix_outbox_waiting", "org", "seq", postgresql_where=sa.text("applied_at IS NULL")),
)
