"""Ports that are chosen now and bound by a child a moment later."""

from __future__ import annotations

import socket

import pytest

from gateway.engines import ports


def test_a_chosen_port_is_there_for_the_server_that_asks_for_it_and_for_nobody_else() -> None:
    port = ports.free_port()
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind((ports.LOOPBACK, port))
    assert ports.is_free(port)
    with socket.create_server((ports.LOOPBACK, port)) as server:  # with SO_REUSEADDR, as all servers of ours
        assert server.getsockname()[1] == port
        assert not ports.is_free(port)


def test_nobody_listens_on_a_chosen_port() -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ports.LOOPBACK, ports.free_port()), timeout=60)
