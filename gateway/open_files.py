"""How many files, connections among them, a process may have open."""

from __future__ import annotations

import resource


def raise_limit() -> int:
    """As many as the system allows; distributions still begin with 1024. Returns how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
