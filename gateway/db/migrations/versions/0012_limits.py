"""Room kept for what comes next."""

from __future__ import annotations

revision = "0012_limits"
down_revision = "0011_tasks"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""
