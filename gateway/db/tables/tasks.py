"""Work that the front end asks of billing, the files that come of it, and what the hourly look at the books found.

A file lies in pieces in the database, so that the process that makes it and the one that hands it out need no disk in
common. Asker and worker touch different tables: ``task_upload`` is what came with the question, ``task_part`` the answer.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from gateway.db.base import MOMENT, metadata

_NOW = sa.text("now()")
_ZERO = sa.text("0")
_NOTHING = sa.text("'{}'::jsonb")

task = sa.Table(
    "task",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()")),
    # whose it is; NULL = the installation's
    sa.Column("org", sa.Uuid, sa.ForeignKey("organisation.id")),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("parameters", JSONB, nullable=False, server_default=_NOTHING),
    sa.Column("asked_by", sa.Uuid, sa.ForeignKey("person.id"), nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
    # what is done of what there is, in steps of the kind's own; no total = not known
    sa.Column("progress", sa.BigInteger, nullable=False, server_default=_ZERO),
    sa.Column("total", sa.BigInteger),
    # for people: why it failed
    sa.Column("error_code", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("result", JSONB),
    sa.Column("file_name", sa.Text),
    sa.Column("media_type", sa.Text),
    sa.Column("size", sa.BigInteger),
    sa.Column("sha256", sa.Text),
    sa.Column("asked_at", MOMENT, nullable=False, server_default=_NOW),
    sa.Column("started_at", MOMENT),
    sa.Column("finished_at", MOMENT),
    # when the file is deleted
    sa.Column("expires_at", MOMENT),
    # raised by every process that takes it up: one that lost its lease can no longer say how it ended
    sa.Column("attempt", sa.Integer, nullable=False, server_default=_ZERO),
    sa.Column("leased_until", MOMENT),
    sa.CheckConstraint("state IN ('waiting', 'running', 'done', 'failed')", name="state"),
    sa.CheckConstraint("(state IN ('done', 'failed')) = (finished_at IS NOT NULL)", name="finished"),
    sa.CheckConstraint("(state = 'failed') = (error_code IS NOT NULL)", name="error"),
    sa.CheckConstraint("num_nonnulls(file_name, media_type, size, sha256) IN (0, 4)", name="file"),
    sa.Index("ix_task_open", "asked_at", postgresql_where=sa.text("finished_at IS NULL")),
    sa.Index("ix_task_org", "org", "id"),
    sa.Index("ix_task_expires_at", "expires_at", postgresql_where=sa.text("expires_at IS NOT NULL")),
)


def _pieces(name: str) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("task", sa.Uuid, sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("bytes", sa.LargeBinary, nullable=False),
    )


task_upload = _pieces("task_upload")
task_part = _pieces("task_part")

invariant_run = sa.Table(
    "invariant_run",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("at", MOMENT, nullable=False, server_default=_NOW),
    # name of the invariant -> violations
    sa.Column("found", JSONB, nullable=False),
    sa.Column("violations", sa.BigInteger, nullable=False),
)
