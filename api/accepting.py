"""New connections, as many as have come.

uvloop takes one connection off a listening socket in each tick of its loop. In an overload a tick takes tens of
milliseconds, so of a thousand clients who connect the last ones would wait for half a minute before anybody reads their
requests, were they only to be refused; and the probes of a load balancer with them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable

import structlog

AT_ONCE = 32
"""Connections of one listening socket in one tick: some milliseconds, and other processes on the same socket get theirs."""

log = structlog.get_logger()


class Accepting:
    """Accepts beside the server that listens on the same sockets, until ``stop``.

    Args:
        listeners: listening sockets; they stay their owner's.
        protocol: makes the protocol of a connection.
    """

    def __init__(self, listeners: Iterable[socket.socket], protocol: Callable[[], asyncio.Protocol]) -> None:
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._opening: set[asyncio.Task[object]] = set()
        self._sockets = [socket.socket(fileno=socket.dup(each.fileno())) for each in listeners]
        for each in self._sockets:
            each.setblocking(False)
            self._loop.add_reader(each, self._accept, each)

    def stop(self) -> None:
        """Accepts no more. Safe to repeat."""
        for each in self._sockets:
            self._loop.remove_reader(each)
            each.close()
        self._sockets.clear()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no more files: whoever waits in line is accepted once some are free
                log.warning("connection_not_accepted", error=str(error))
                return
            connection.setblocking(False)
            if connection.family in (socket.AF_INET, socket.AF_INET6):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._loop.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError as error:  # it has gone already
            connection.close()
            log.info("connection_lost_at_once", error=str(error))
