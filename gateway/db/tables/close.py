"""What the month close keeps: who bills whom, invoices and how they are paid, what became of prepaid lots.

A final invoice is frozen: a trigger refuses every change of what it says, even by the tables' owner. Numbers come from
``invoice_counter`` inside the transaction that makes an invoice final, so that they have no gaps.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from gateway.db.base import MICRO, MOMENT, WON, metadata

_NOW = sa.text("now()")
_NONE = sa.text("''")
_ZERO = sa.text("0")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default=_NONE)


def _party() -> list[sa.Column[str]]:
    """One side of an invoice, as its business registration has it; the number without hyphens."""
    names = ("registration", "branch", "representative", "address", "business_type", "business_item", "email", "email2")
    return [sa.Column("legal_name", sa.Text, nullable=False), *map(_text, names)]


issuer = sa.Table(
    "issuer",
    metadata,
    sa.Column("id", sa.Text, primary_key=True, server_default="main"),
    # what invoice numbers begin with
    sa.Column("code", sa.Text, nullable=False),
    *_party(),
    _text("bank"),
    _text("bank_number"),
    _text("bank_holder"),
    sa.Column("changed_at", MOMENT, nullable=False, server_default=_NOW),
    sa.CheckConstraint("id = 'main'", name="one"),
    sa.CheckConstraint("code ~ '^[A-Z0-9]{1,8}$'", name="code"),
)

billing_profile = sa.Table(
    "billing_profile",
    metadata,
    sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), primary_key=True),
    *_party(),
    sa.Column("vat", sa.Text, nullable=False, server_default="exclusive"),
    sa.Column("vat_rounding", sa.Text, nullable=False, server_default="floor"),
    # days:30 = within 30 days of issue; day:31 = the last day of the next month; day:25+2 = the 25th two months later
    sa.Column("terms", sa.Text, nullable=False, server_default="day:31"),
    sa.Column("payment_method", sa.Text, nullable=False, server_default="transfer"),
    sa.Column("changed_at", MOMENT, nullable=False, server_default=_NOW),
    sa.CheckConstraint("vat IN ('exclusive', 'inclusive', 'zero_rated')", name="vat"),
    sa.CheckConstraint("vat_rounding IN ('floor', 'half_up', 'ceil')", name="vat_rounding"),
    sa.CheckConstraint("terms ~ '^(days:[0-9]{1,3}|day:[0-9]{1,2}([+][0-9]{1,2})?)$'", name="terms"),
    sa.CheckConstraint("payment_method IN ('transfer', 'card')", name="payment_method"),
)

billing_change = sa.Table(
    "billing_change",
    metadata,
    # which kind of billing an organisation had from when on; a trigger on `organisation` writes it
    sa.Column("org", sa.Uuid, primary_key=True),
    sa.Column("at", MOMENT, primary_key=True),
    sa.Column("billing", sa.Text, nullable=False),
)

invoice = sa.Table(
    "invoice",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()")),
    sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), nullable=False),
    sa.Column("month", sa.Text, nullable=False),
    # 0 = the month's invoice, 1… = what amended it since
    sa.Column("amendment", sa.Integer, nullable=False, server_default=_ZERO),
    sa.Column("state", sa.Text, nullable=False),
    # canonical JSON of everything the document says, and its SHA-256
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("number", sa.Text, unique=True),
    sa.Column("reason_code", sa.Text),
    sa.Column("reason", sa.Text),
    # whole won; `due` is what is still to be paid of `supply + vat`, with VAT
    sa.Column("supply", sa.BigInteger, nullable=False),
    sa.Column("vat", sa.BigInteger, nullable=False),
    sa.Column("due", sa.BigInteger, nullable=False),
    # the month's charge net of promotions, and the promotions
    sa.Column("exact", WON, nullable=False),
    sa.Column("promotion", WON, nullable=False),
    sa.Column("drafted_by", sa.Uuid, nullable=False),
    sa.Column("drafted_at", MOMENT, nullable=False, server_default=_NOW),
    sa.Column("reviewed_by", sa.Uuid),
    sa.Column("reviewed_at", MOMENT),
    sa.Column("finalised_by", sa.Uuid),
    sa.Column("finalised_at", MOMENT),
    sa.Column("issued_on", sa.Date),
    sa.Column("due_on", sa.Date),
    sa.Column("approval", sa.Text),
    sa.UniqueConstraint("org", "month", "amendment"),
    sa.CheckConstraint("state IN ('draft', 'reviewed', 'final', 'issued', 'paid', 'overdue', 'amended')", name="state"),
    sa.CheckConstraint("(state IN ('draft', 'reviewed')) = (finalised_at IS NULL)", name="finalised"),
    sa.CheckConstraint("finalised_at IS NOT NULL OR number IS NULL", name="number"),
    sa.CheckConstraint("drafted_by <> finalised_by AND drafted_by <> reviewed_by", name="two_people"),
    sa.CheckConstraint(
        "(amendment = 0) = (reason_code IS NULL) AND reason_code IN ('01', '02', '03', '04', '05', '06')", name="reason"
    ),
    sa.CheckConstraint("encode(sha256(convert_to(content, 'UTF8')), 'hex') = digest", name="digest"),
    sa.Index("ix_invoice_month", "month", "org"),
)

invoice_counter = sa.Table(
    "invoice_counter",
    metadata,
    sa.Column("issuer", sa.Text, primary_key=True),
    sa.Column("month", sa.Text, primary_key=True),
    sa.Column("last", sa.Integer, nullable=False),
)

lot_use = sa.Table(
    "lot_use",
    metadata,
    # what a final invoice took from a lot; an amendment holds the difference
    sa.Column("invoice", sa.Uuid, sa.ForeignKey("invoice.id"), primary_key=True),
    sa.Column("lot", sa.Uuid, sa.ForeignKey("lot.id"), primary_key=True),
    sa.Column("won", WON, nullable=False),
    sa.Index("ix_lot_use_lot", "lot"),
)

lot_expiry = sa.Table(
    "lot_expiry",
    metadata,
    sa.Column("lot", sa.Uuid, sa.ForeignKey("lot.id"), primary_key=True),
    sa.Column("won", WON, nullable=False),
    sa.Column("at", MOMENT, nullable=False, server_default=_NOW),
)

window_correction = sa.Table(
    "window_correction",
    metadata,
    # what moved an organisation's settled balance apart from top-ups and usage
    sa.Column("org", sa.Uuid, primary_key=True),
    sa.Column("reason", sa.Text, primary_key=True),
    sa.Column("reference", sa.Text, primary_key=True),
    sa.Column("micro", MICRO, nullable=False),
    sa.Column("at", MOMENT, nullable=False, server_default=_NOW),
    sa.CheckConstraint("reason IN ('expired', 'overdrawn', 'on_account')", name="reason"),
)

payment = sa.Table(
    "payment",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()")),
    sa.Column("invoice", sa.Uuid, sa.ForeignKey("invoice.id"), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("paid_on", sa.Date, nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("booked_by", sa.Text, nullable=False),
    sa.Column("booked_at", MOMENT, nullable=False, server_default=_NOW),
    sa.UniqueConstraint("invoice", "reference"),
    # below zero: given back to the customer, or booked by mistake before
    sa.CheckConstraint("amount <> 0", name="amount"),
)

month_collected = sa.Table(
    "month_collected",
    metadata,
    sa.Column("month", sa.Text, primary_key=True),
    sa.Column("at", MOMENT, nullable=False, server_default=_NOW),
)

discarded_usage = sa.Table(
    "discarded_usage",
    metadata,
    # a poison event that a person decided not to book, whole
    sa.Column("entry", sa.Text, primary_key=True),
    sa.Column("org", sa.Text, nullable=False),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("micro", MICRO, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("fields", JSONB, nullable=False),
    sa.Column("at", MOMENT, nullable=False, server_default=_NOW),
)

provider_statement = sa.Table(
    "provider_statement",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()")),
    sa.Column("provider", sa.Text, nullable=False),
    # SHA-256 of the file: the same one is imported once
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("first_day", sa.Date, nullable=False),
    sa.Column("last_day", sa.Date, nullable=False),
    sa.Column("result", JSONB, nullable=False),
    sa.Column("imported_by", sa.Text, nullable=False),
    sa.Column("imported_at", MOMENT, nullable=False, server_default=_NOW),
)


def _rollup(name: str, *dimensions: sa.Column[object] | sa.Index, by: str) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("org", sa.Uuid, primary_key=True),
        *dimensions,
        *(
            sa.Column(count, sa.BigInteger, nullable=False, server_default=_ZERO)
            for count in ("calls", "failed", "estimated", "prompt_tokens", "cached_tokens", "completion_tokens")
        ),
        sa.Column("won", WON, nullable=False, server_default=_ZERO),
        sa.Column("cost_usd", WON, nullable=False, server_default=_ZERO),
        sa.Column("cost_won", WON, nullable=False, server_default=_ZERO),
        # calls whose cost is not known
        sa.Column("uncosted", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Index(f"ix_{name}_{by}", by),
    )


def _of() -> list[sa.Column[object]]:
    """Empty where the call named none: a key column is never NULL."""
    key: list[sa.Column[object]] = [sa.Column("key", sa.Uuid, primary_key=True)]
    return key + [sa.Column(name, sa.Text, primary_key=True) for name in ("model", "provider", "title")]


usage_hour = _rollup("usage_hour", sa.Column("hour", MOMENT, primary_key=True), *_of(), by="hour")
# days of Seoul; the only one that tells end users apart
usage_day = _rollup(
    "usage_day",
    sa.Column("day", sa.Date, primary_key=True),
    *_of(),
    sa.Column("user_hash", sa.Text, primary_key=True),
    # where end users are still to be forgotten
    sa.Index("ix_usage_day_end_user", "day", postgresql_where=sa.text("user_hash <> ''")),
    by="day",
)

# what `holidays` cannot know yet: a day off that the government declares a few weeks ahead (임시공휴일)
holiday = sa.Table(
    "holiday",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("entered_by", sa.Text, nullable=False),
    sa.Column("entered_at", MOMENT, nullable=False, server_default=_NOW),
)
