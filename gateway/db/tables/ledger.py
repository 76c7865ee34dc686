"""Usage, ledger and the settled side of the credit window.

Double entry in won: a debit is positive, a credit negative, every transaction sums to zero. Only ``billing.ledger``
writes entries; the database itself refuses an unbalanced statement and every change of what was written, and keeps
``account_balance`` from the entries (migration 0002). Provider cost in USD is a book of its own and no part of this.

The month (``YYYYMM`` in Seoul) of a usage row is a function of its job id, so the key (month, job) makes the job
unique although the table is partitioned by month.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from gateway.db.base import MICRO, MOMENT, RATE, USD_PER_1M, WON, metadata

PER_ORGANISATION = ("wallet", "unbilled", "receivable", "revenue", "promo", "loss_unbilled")
"""Account kinds that every organisation has of its own."""
OF_THE_INSTALLATION = ("vat_payable", "cash_clearing", "rounding")
"""Account kinds of which there is one, with no organisation."""
KINDS = (*PER_ORGANISATION, *OF_THE_INSTALLATION)

_NOW = sa.text("now()")
_ZERO = sa.text("0")


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default=_ZERO)


usage = sa.Table(
    "usage",
    metadata,
    sa.Column("month", sa.Text, primary_key=True),
    sa.Column("job", sa.Uuid, primary_key=True),
    sa.Column("org", sa.Uuid, nullable=False),
    sa.Column("key", sa.Uuid, nullable=False),
    # which of the two billing kinds the organisation had when this was booked
    sa.Column("prepaid", sa.Boolean, nullable=False),
    # the model as the client named it, and the one that answered
    sa.Column("asked", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("deployment", sa.Text, nullable=False),
    sa.Column("surface", sa.Text, nullable=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("stream", sa.Boolean, nullable=False),
    sa.Column("title", sa.Text),
    # a keyed hash: no personal data in rows that tax law makes us keep
    sa.Column("user_hash", sa.Text),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("finish_reason", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("estimated", sa.Boolean, nullable=False),
    # prompt includes cached and cache writes, completion includes reasoning and image
    _count("prompt_tokens"),
    _count("completion_tokens"),
    _count("cached_tokens"),
    _count("cache_write_5m_tokens"),
    _count("cache_write_1h_tokens"),
    _count("reasoning_tokens"),
    _count("image_tokens"),
    _count("searches"),
    sa.Column("won", WON, nullable=False),
    # what the credit window was charged: won rounded up to micro-won, once
    sa.Column("micro", MICRO, nullable=False),
    # what a strict hold did not cover: not the customer's to pay
    sa.Column("loss_won", WON, nullable=False),
    # price and rate of the first part; where several models contributed, `parts` has them all
    sa.Column("price_id", sa.Text),
    sa.Column("rate_id", sa.Text),
    sa.Column("input_usd", USD_PER_1M),
    sa.Column("output_usd", USD_PER_1M),
    sa.Column("rate", RATE),
    sa.Column("tier", sa.Text),
    sa.Column("parts", JSONB, nullable=False),
    sa.Column("attempts", JSONB, nullable=False),
    sa.Column("first_token_ms", sa.BigInteger),
    sa.Column("duration_ms", sa.BigInteger),
    sa.Column("admitted_at", MOMENT, nullable=False),
    sa.Column("settled_at", MOMENT, nullable=False, server_default=_NOW),
    sa.Column("trace", sa.Text),
    # what providers charge us for all attempts, at their list prices and the call's rate; NULL = not known
    sa.Column("cost_usd", WON),
    sa.Column("cost_won", WON),
    sa.CheckConstraint(
        "to_char(uuid_extract_timestamp(job) AT TIME ZONE 'Asia/Seoul', 'YYYYMM') IS NOT DISTINCT FROM month",
        name="month_of_job",
    ),
    sa.CheckConstraint("won >= 0 AND loss_won >= 0 AND micro = ceil(won * 1000000)", name="charge"),
    sa.CheckConstraint("outcome IN ('complete', 'cancelled', 'failed', 'expired', 'voided')", name="outcome"),
    # job ids rise with time, so this index is also the organisation's usage by time
    sa.Index("ix_usage_org_job", "org", "job"),
    postgresql_partition_by="LIST (month)",
)

account = sa.Table(
    "account",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("org", sa.Uuid),
    sa.Column("kind", sa.Text, nullable=False),
    sa.UniqueConstraint("org", "kind", postgresql_nulls_not_distinct=True),
    sa.CheckConstraint(
        "CASE WHEN org IS NULL THEN kind IN ('vat_payable', 'cash_clearing', 'rounding') "
        "ELSE kind IN ('wallet', 'unbilled', 'receivable', 'revenue', 'promo', 'loss_unbilled') END",
        name="kind",
    ),
)

ledger_transaction = sa.Table(
    "ledger_transaction",
    metadata,
    # a usage transaction's id is the job's
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("org", sa.Uuid, nullable=False),
    sa.Column("month", sa.Text, nullable=False),
    sa.Column("job", sa.Uuid),
    sa.Column("reference", sa.Text),
    sa.Column("memo", sa.Text),
    sa.Column("occurred_at", MOMENT, nullable=False),
    sa.Column("created_at", MOMENT, nullable=False, server_default=_NOW),
    sa.CheckConstraint("(kind = 'usage') = (job IS NOT NULL) AND (job IS NULL OR job = id)", name="job"),
    sa.Index("ix_ledger_transaction_month_org", "month", "org"),
    sa.Index(
        "uq_ledger_transaction_reference", "org", "kind", "reference", unique=True,
        postgresql_where=sa.text("reference IS NOT NULL"),
    ),
)  # fmt: skip

entry = sa.Table(
    "entry",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("txn", sa.Uuid, nullable=False),
    sa.Column("account", sa.BigInteger, nullable=False),
    # debit positive, credit negative
    sa.Column("won", WON, nullable=False),
    sa.CheckConstraint("won <> 0", name="won"),
    sa.Index("ix_entry_txn", "txn"),
)

account_balance = sa.Table(
    "account_balance",
    metadata,
    sa.Column("account", sa.BigInteger, sa.ForeignKey("account.id"), primary_key=True),
    sa.Column("won", WON, nullable=False),
)

lot = sa.Table(
    "lot",
    metadata,
    # the id of the top-up's transaction
    sa.Column("id", sa.Uuid, sa.ForeignKey("ledger_transaction.id"), primary_key=True),
    sa.Column("org", sa.Uuid, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    # net of VAT; VAT apart; both whole won
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("vat", sa.BigInteger, nullable=False),
    sa.Column("remaining", WON, nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("created_at", MOMENT, nullable=False, server_default=_NOW),
    sa.Column("expires_at", MOMENT),
    sa.UniqueConstraint("org", "reference"),
    sa.CheckConstraint("method IN ('transfer', 'card', 'promotion')", name="method"),
    sa.CheckConstraint("amount > 0 AND vat >= 0 AND remaining BETWEEN 0 AND amount", name="amount"),
    # promotion first, then the oldest: the order in which lots are used up
    sa.Index("ix_lot_open", "org", sa.text("(method <> 'promotion')"), "created_at",
             postgresql_where=sa.text("remaining > 0")),
)  # fmt: skip

window_org = sa.Table(
    "window_org",
    metadata,
    sa.Column("org", sa.Uuid, primary_key=True),
    sa.Column("balance_micro", MICRO, nullable=False),
    # usage on account (postpaid) that is in the balance and has not been given back to it
    sa.Column("account_micro", MICRO, nullable=False, server_default=_ZERO),
    # the balance right after the last top-up, and which one that was: alerts measure what is spent against it
    sa.Column("topup_micro", MICRO),
    sa.Column("topup_id", sa.Uuid),
)

window_month = sa.Table(
    "window_month",
    metadata,
    sa.Column("org", sa.Uuid, primary_key=True),
    sa.Column("month", sa.Text, primary_key=True),
    sa.Column("spent_micro", MICRO, nullable=False),
)

window_key = sa.Table(
    "window_key",
    metadata,
    sa.Column("key", sa.Uuid, primary_key=True),
    sa.Column("org", sa.Uuid, nullable=False),
    sa.Column("spent_micro", MICRO, nullable=False),
)
