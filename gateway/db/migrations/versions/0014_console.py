"""Keys that no secret opens: what somebody signed in calls models with, one for a person and organisation."""

from __future__ import annotations

from alembic import op

revision = "0014_console"
down_revision = "0013_privacy"
branch_labels = None
depends_on = None

COLUMN = """
ALTER TABLE api_key ADD COLUMN kind TEXT NOT NULL DEFAULT 'key';
ALTER TABLE api_key ADD CONSTRAINT ck_api_key_kind CHECK (kind IN ('key', 'console'));
CREATE UNIQUE INDEX uq_api_key_console ON api_key (org, created_by) WHERE kind = 'console';
"""


def upgrade() -> None:
    op.execute(COLUMN)
