"""Alerts: whom an organisation wants told, what was raised, and how telling them went."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from gateway.db.base import MICRO, MOMENT, metadata

_NOW = sa.text("now()")

alert_settings = sa.Table(
    "alert_settings",
    metadata,
    sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), primary_key=True),
    # percents of a limit at which somebody is told
    sa.Column("thresholds", ARRAY(sa.Integer), nullable=False),
    # owners and finance people get mail
    sa.Column("mail_people", sa.Boolean, nullable=False),
    sa.Column("emails", ARRAY(sa.Text), nullable=False),
    sa.Column("webhook_url", sa.Text),
    # sealed: billing signs with it, nobody reads it
    sa.Column("webhook_secret", sa.LargeBinary),
    sa.Column("changed_at", MOMENT, nullable=False, server_default=_NOW),
    sa.CheckConstraint("webhook_url IS NULL OR webhook_secret IS NOT NULL", name="webhook"),
    sa.CheckConstraint("thresholds <@ ARRAY[50, 80, 100]", name="thresholds"),
)

alert = sa.Table(
    "alert",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    # the key's id; empty for the organisation's own limits
    sa.Column("subject", sa.Text, nullable=False),
    # month: YYYYMM in Seoul; credit: the top-up it is measured from; key: empty, its limit is for life
    sa.Column("period", sa.Text, nullable=False),
    sa.Column("limit_micro", MICRO, nullable=False),
    sa.Column("percent", sa.Integer, nullable=False),
    sa.Column("spent_micro", MICRO, nullable=False),
    sa.Column("raised_at", MOMENT, nullable=False, server_default=_NOW),
    # what makes an alert happen once, whoever crashes when
    sa.UniqueConstraint("org", "scope", "subject", "period", "limit_micro", "percent", name="uq_alert_org"),
    sa.CheckConstraint("scope IN ('month', 'credit', 'key')", name="scope"),
    sa.CheckConstraint("percent IN (50, 80, 100)", name="percent"),
    sa.Index("ix_alert_org", "org", "raised_at"),
)

alert_delivery = sa.Table(
    "alert_delivery",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), nullable=False),
    # NULL: a test
    sa.Column("alert", sa.Uuid, sa.ForeignKey("alert.id")),
    sa.Column("channel", sa.Text, nullable=False),
    # an address of either kind
    sa.Column("target", sa.Text, nullable=False),
    # the same at every try, so that a receiver can tell a repeated one
    sa.Column("payload", JSONB, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
    # one {at, status, error, ms} a try
    sa.Column("attempts", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
    # while a try is under way: when another process may take it over
    sa.Column("next_at", MOMENT, nullable=False, server_default=_NOW),
    sa.Column("created_at", MOMENT, nullable=False, server_default=_NOW),
    sa.Column("finished_at", MOMENT),
    sa.CheckConstraint("channel IN ('webhook', 'mail')", name="channel"),
    sa.CheckConstraint("state IN ('waiting', 'delivered', 'failed')", name="state"),
    sa.Index("ix_alert_delivery_org", "org", "created_at"),
    sa.Index("ix_alert_delivery_waiting", "next_at", postgresql_where=sa.text("state = 'waiting'")),
)
