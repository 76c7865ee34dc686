"""Room kept for what comes next."""

from __future__ import annotations

revision = "0014_console"
down_revision = "0013_privacy"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""
