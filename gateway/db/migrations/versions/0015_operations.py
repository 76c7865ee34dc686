"""Room kept for what comes next."""

from __future__ import annotations

revision = "0015_operations"
down_revision = "0014_console"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""
