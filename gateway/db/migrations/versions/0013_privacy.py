"""Room kept for what comes next."""

from __future__ import annotations

revision = "0013_privacy"
down_revision = "0012_limits"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""
