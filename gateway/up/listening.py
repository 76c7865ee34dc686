"""The one listening socket that all api processes share."""

from __future__ import annotations

import socket

from gateway.engines import EngineError

# Connections that wait while every api process is being restarted; beyond the usual kernel limit of 4096 it is cut.
BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Bind once, here: the kernel spreads connections over the processes, and they wait in the queue during a restart.

    port 0 takes a free one. Raises EngineError if the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise EngineError(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port") from error
    listener.setblocking(False)
    return listener


def address(listener: socket.socket) -> str:
    """`host:port` as a client on this machine writes it."""
    host, port = str(listener.getsockname()[0]), int(listener.getsockname()[1])
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (read, not bound)
    return f"[{reachable}]:{port}" if ":" in reachable else f"{reachable}:{port}"
