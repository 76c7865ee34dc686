"""Organisations, people, keys, audit log, outbox; prices, rates, the window's epoch; what each role may do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001_accounts"
down_revision = None
branch_labels = None
depends_on = None

_NOW = sa.text("now()")
_NO = sa.text("false")
_ONE = sa.text("1")
_ZERO = sa.text("0")
_EMPTY = sa.text("'{}'::jsonb")
_MOMENT = sa.DateTime(timezone=True)
_USD = sa.Numeric(18, 6)
_LIMIT_WON = sa.Numeric(16, 6)


def upgrade() -> None:
    _organisations()
    _people()
    _keys()
    _records()
    _outbox()
    _catalogue()
    op.execute("INSERT INTO window_epoch (cell, epoch) VALUES ('main', 1)")
    _immutable("price", "exchange_rate")
    for grant in _GRANTS.strip().splitlines():
        op.execute(grant)


def _limits(*columns: str) -> list[sa.CheckConstraint]:
    return [sa.CheckConstraint(f"{column} >= 0", name=column) for column in columns]


def _organisations() -> None:
    op.create_table(
        "organisation",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("billing", sa.Text, nullable=False),
        sa.Column("policy", sa.Text, nullable=False, server_default="optimistic"),
        sa.Column("month_limit_won", _LIMIT_WON),
        sa.Column("rpm", sa.Integer),
        sa.Column("concurrency", sa.Integer),
        sa.Column("tpm", sa.Integer),
        sa.Column("version", sa.BigInteger, nullable=False, server_default=_ONE),
        sa.Column("state", sa.Text, nullable=False, server_default="active"),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.Column("domestic_only", sa.Boolean, nullable=False, server_default=_NO),
        sa.Column("no_training", sa.Boolean, nullable=False, server_default=_NO),
        sa.Column("settings", JSONB, nullable=False, server_default=_EMPTY),
        sa.CheckConstraint("billing IN ('prepaid', 'postpaid')", name="billing"),
        sa.CheckConstraint("policy IN ('strict', 'optimistic')", name="policy"),
        sa.CheckConstraint("state IN ('active', 'suspended', 'closed')", name="state"),
        sa.CheckConstraint("month_limit_won BETWEEN 0 AND 9000000000", name="month_limit_won"),
        *_limits("rpm", "concurrency", "tpm"),
    )


def _people() -> None:
    op.create_table(
        "person",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("email", sa.Text, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text),
        sa.Column("state", sa.Text, nullable=False, server_default="active"),
        sa.Column("operator", sa.Boolean, nullable=False, server_default=_NO),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.CheckConstraint("email = lower(email)", name="email"),
        sa.CheckConstraint("state IN ('active', 'deactivated')", name="state"),
    )
    op.create_table(
        "membership",
        sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), primary_key=True),
        sa.Column("person", sa.Uuid, sa.ForeignKey("person.id"), primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="active"),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.CheckConstraint("role IN ('owner', 'member', 'finance')", name="role"),
        sa.CheckConstraint("state IN ('active', 'left')", name="state"),
        sa.Index("ix_membership_person", "person"),
    )


def _keys() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), nullable=False),
        sa.Column("created_by", sa.Uuid, sa.ForeignKey("person.id")),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("surface", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("previous_hash", sa.LargeBinary, unique=True),
        sa.Column("previous_until", _MOMENT),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="active"),
        sa.Column("version", sa.BigInteger, nullable=False, server_default=_ONE),
        sa.Column("limit_won", _LIMIT_WON),
        sa.Column("rpm", sa.Integer),
        sa.Column("concurrency", sa.Integer),
        sa.Column("models", ARRAY(sa.Text)),
        sa.Column("expires_at", _MOMENT),
        sa.Column("last_used_at", _MOMENT),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.Column("rotated_at", _MOMENT),
        sa.Column("revoked_at", _MOMENT),
        sa.CheckConstraint("surface IN ('bizrouter', 'krouter')", name="surface"),
        sa.CheckConstraint("state IN ('active', 'deactivated', 'deleted')", name="state"),
        sa.CheckConstraint("octet_length(hash) = 32", name="hash"),
        sa.CheckConstraint("(previous_hash IS NULL) = (previous_until IS NULL)", name="previous"),
        sa.CheckConstraint("limit_won BETWEEN 0 AND 9000000000", name="limit_won"),
        *_limits("rpm", "concurrency"),
        sa.Index("ix_api_key_org", "org", "created_at"),
    )


def _records() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("at", _MOMENT, nullable=False, server_default=_NOW),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("org", sa.Uuid),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("details", JSONB, nullable=False, server_default=_EMPTY),
        sa.Index("ix_audit_log_org", "org", "id"),
    )
    op.create_table(
        "topup_request",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), nullable=False),
        sa.Column("amount_won", sa.BigInteger, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="pending"),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.Column("booked_at", _MOMENT),
        sa.Column("expires_at", _MOMENT),
        sa.Column("note", sa.Text, nullable=False, server_default=""),
        sa.UniqueConstraint("org", "reference"),
        sa.CheckConstraint("method IN ('transfer', 'card', 'promotion')", name="method"),
        sa.CheckConstraint("state IN ('pending', 'booked', 'refused')", name="state"),
        sa.CheckConstraint("amount_won BETWEEN 1 AND 9000000000", name="amount_won"),
        sa.CheckConstraint("expires_at IS NULL OR method = 'promotion'", name="expires_at"),
        sa.Index("ix_topup_request_pending", "created_at", postgresql_where=sa.text("state = 'pending'")),
    )


def _outbox() -> None:
    op.create_table(
        "organisation_seq",
        sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("balance_micro", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("org_version", sa.BigInteger),
        sa.Column("key", sa.Uuid),
        sa.Column("key_version", sa.BigInteger),
        sa.Column("key_spent_micro", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("month", sa.Text),
        sa.Column("month_spent_micro", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("news", sa.LargeBinary, nullable=False, server_default=sa.text("''::bytea")),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.Column("applied_at", _MOMENT),
        sa.Index("ix_outbox_waiting", "org", "seq", postgresql_where=sa.text("applied_at IS NULL")),
    )


def _catalogue() -> None:
    op.create_table(
        "price",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("effective_from", _MOMENT, nullable=False),
        sa.Column("input_usd", _USD, nullable=False),
        sa.Column("output_usd", _USD, nullable=False),
        sa.Column("threshold", sa.Integer),
        sa.Column("over_input_usd", _USD),
        sa.Column("over_output_usd", _USD),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.UniqueConstraint("model", "effective_from"),
        sa.CheckConstraint("input_usd > 0 AND output_usd > 0", name="positive"),
        sa.CheckConstraint(
            "num_nonnulls(threshold, over_input_usd, over_output_usd) IN (0, 3)"
            " AND coalesce(threshold, 1) > 0 AND coalesce(over_input_usd, 1) > 0 AND coalesce(over_output_usd, 1) > 0",
            name="tier",
        ),
    )
    op.create_table(
        "exchange_rate",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("date", sa.Date, nullable=False),
        sa.Column("rate", sa.Numeric(12, 4), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("effective_from", _MOMENT, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.CheckConstraint("rate > 0", name="rate"),
    )
    op.create_table(
        "model_state",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.CheckConstraint("state IN ('active', 'withdrawn', 'disabled')", name="state"),
    )
    op.create_table(
        "window_epoch",
        sa.Column("cell", sa.Text, primary_key=True, server_default="main"),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("redis_run_id", sa.Text),
        sa.Column("changed_at", _MOMENT, nullable=False, server_default=_NOW),
    )


def _immutable(*tables: str) -> None:
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$"
    )
    for table in tables:
        op.execute(
            f"CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


# Each role gets what its processes do, nothing else; nobody but the owner may delete. Billing names people on
# invoices but sees no password and no key hash; it alone deletes, and only outbox rows applied long ago.
_GRANTS = """
GRANT SELECT, INSERT, UPDATE ON organisation, person, membership, api_key, organisation_seq TO wonrouter_api
GRANT SELECT, INSERT ON outbox, audit_log, topup_request TO wonrouter_api
GRANT SELECT ON price, exchange_rate, model_state, window_epoch TO wonrouter_api
GRANT SELECT ON price, exchange_rate, model_state TO wonrouter_worker
GRANT SELECT ON organisation, membership, price, model_state TO wonrouter_billing
GRANT SELECT (id, email, name, state, operator, created_at) ON person TO wonrouter_billing
GRANT SELECT (id, org, created_by, name, surface, hint, state, version, limit_won, rpm, concurrency, models) \
ON api_key TO wonrouter_billing
GRANT SELECT (expires_at, last_used_at, created_at, rotated_at, revoked_at) ON api_key TO wonrouter_billing
GRANT SELECT, INSERT ON exchange_rate, audit_log TO wonrouter_billing
GRANT SELECT, INSERT, UPDATE ON organisation_seq, window_epoch TO wonrouter_billing
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO wonrouter_billing
GRANT SELECT, UPDATE (state, booked_at, note) ON topup_request TO wonrouter_billing
"""
