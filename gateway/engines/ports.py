"""TCP ports on the loopback address."""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port that nobody else is given for a minute: a connection on it has just ended, so the kernel hands it out to
    nobody who asks for any, and who asks for this one, with SO_REUSEADDR as servers do, may bind it."""
    with socket.socket() as listening, socket.socket() as calling:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, 0))
        listening.listen(1)
        calling.connect(listening.getsockname())
        accepted, _ = listening.accept()
        accepted.close()  # this side first: it keeps the port
        calling.recv(1)
        return int(listening.getsockname()[1])


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
