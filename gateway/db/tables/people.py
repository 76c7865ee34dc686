"""Sessions, and the links that work once: invitations and password resets. Of each secret only the SHA-256 is kept."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.db.base import MOMENT, metadata

_NOW = sa.text("now()")

session = sa.Table(
    "session",
    metadata,
    sa.Column("hash", sa.LargeBinary, primary_key=True),
    sa.Column("person", sa.Uuid, sa.ForeignKey("person.id"), nullable=False),
    # the organisation it acts in; NULL = an operator who has not chosen one
    sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id")),
    sa.Column("created_at", MOMENT, nullable=False, server_default=_NOW),
    sa.Column("seen_at", MOMENT, nullable=False, server_default=_NOW),
    # whatever happens it ends here; idleness ends it before
    sa.Column("expires_at", MOMENT, nullable=False),
    sa.CheckConstraint("octet_length(hash) = 32", name="hash"),
    sa.Index("ix_session_person", "person"),
    sa.Index("ix_session_expires_at", "expires_at"),
)

one_time_link = sa.Table(
    "one_time_link",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    # an invitation: into which organisation, as what, and for which address
    sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id")),
    sa.Column("role", sa.Text),
    sa.Column("email", sa.Text),
    # a reset: of whose password
    sa.Column("person", sa.Uuid, sa.ForeignKey("person.id")),
    # the person who made it; NULL = the operator
    sa.Column("created_by", sa.Uuid, sa.ForeignKey("person.id")),
    sa.Column("created_at", MOMENT, nullable=False, server_default=_NOW),
    sa.Column("expires_at", MOMENT, nullable=False),
    sa.Column("used_at", MOMENT),
    sa.Column("revoked_at", MOMENT),
    sa.CheckConstraint("octet_length(hash) = 32", name="hash"),
    sa.CheckConstraint("kind IN ('invitation', 'reset')", name="kind"),
    sa.CheckConstraint("role IN ('owner', 'member', 'finance')", name="role"),
    sa.CheckConstraint(
        "CASE kind WHEN 'invitation' THEN num_nonnulls(org, role, email) = 3 AND person IS NULL"
        " ELSE person IS NOT NULL AND num_nonnulls(org, role, email) = 0 END",
        name="shape",
    ),
    sa.Index("ix_one_time_link_org", "org", "id"),
    sa.Index("ix_one_time_link_person", "person"),
)
