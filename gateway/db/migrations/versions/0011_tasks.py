"""Room kept for what comes next."""

from __future__ import annotations

revision = "0011_tasks"
down_revision = "0010_close"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""
