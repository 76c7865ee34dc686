"""TCP ports on the loopback address."""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port that was free a moment ago. Whoever binds it must be ready to find it taken."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def keep_or_choose(wanted: int | None) -> int:
    """`wanted` if it is free, else another: a restart keeps its ports where it can, so open tools stay connected."""
    return wanted if wanted and is_free(wanted) else free_port()
