"""What an organisation forbids, and who looked at what."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from gateway.db.base import MOMENT, metadata

_NOW = sa.text("now()")

forbidden_words = sa.Table(
    "forbidden_words",
    metadata,
    sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id"), primary_key=True),
    # rises with every change: whoever has compiled the list of a version need not look at it again
    sa.Column("version", sa.BigInteger, nullable=False),
    # sorted; a list is small enough to be one value, read and compiled as a whole
    sa.Column("words", ARRAY(sa.Text), nullable=False),
    sa.Column("changed_at", MOMENT, nullable=False, server_default=_NOW),
)

access_log = sa.Table(
    "access_log",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("at", MOMENT, nullable=False, server_default=_NOW),
    sa.Column("org", sa.Uuid, nullable=False),
    # as in the audit log
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    # whose data: an end user's keyed hash, a person's id, or empty for everybody's
    sa.Column("subject", sa.Text, nullable=False),
    # why, in the words of whoever looked, where the law wants a reason
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.Index("ix_access_log_org", "org", "id"),
    sa.Index("ix_access_log_at", "at"),
)
