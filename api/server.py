"""The HTTP server: uvicorn, stopped in an order that fails no request."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import structlog
import uvicorn

from api.accepting import Accepting
from api.observed import Observed
from api.protocol import SWEEP_TICKS, Config, Protocol, end_overdue
from gateway.errors import ServiceUnavailable
from gateway.settings import Settings

BACKLOG = 4096
KEEP_ALIVE_S = 75
"""Longer than the 60 s of usual load balancers: the side that knows about a request should be the one that closes."""
SPARE_FILES = 256
"""Beside connections: Redis, PostgreSQL, and the probes that are answered beyond the limit."""

log = structlog.get_logger()


class Server(uvicorn.Server):
    """Drains on SIGTERM and SIGINT: not ready, a moment's grace, no new connections, answers finish, the rest is told.

    Args:
        config: uvicorn's.
        observed: the application.
        drain_s: how long answers may take to finish.
        started_up: called once the application has started.
        handed_down: others listen on the same socket; whoever comes during the drain is theirs.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        observed: Observed,
        drain_s: float,
        started_up: Callable[[], None] = lambda: None,
        *,
        handed_down: bool = False,
    ) -> None:
        super().__init__(config)
        if isinstance(config, Config):
            config.refusal = observed.refusal
        self._started_up = started_up
        self._observed = observed
        self._drain_s = drain_s
        self._handed_down = handed_down
        self._accepting: Accepting | None = None
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, and notes the loop for the signals to come."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        listeners = sockets or [each for server in self.servers for each in server.sockets]
        self._accepting = Accepting(listeners, self._protocol)
        self._started_up()

    def _protocol(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        return made(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """The end: no new connections, and what is open finishes."""
        self._stop_accepting()
        await super().shutdown(sockets)

    def _stop_accepting(self) -> None:
        if self._accepting is not None:
            self._accepting.stop()

    async def on_tick(self, counter: int) -> bool:
        """uvicorn's pulse: now and then, connections whose requests do not arrive are ended."""
        if counter % SWEEP_TICKS == 0 and self._loop is not None:
            end_overdue(self.server_state.connections, self._loop.time())
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # uvicorn's signature
        """The first signal drains; the second does not wait."""
        if self._observed.parts.draining or not self.started or self._loop is None:
            self.should_exit = True
            self.force_exit = self._observed.parts.draining
            return
        self._observed.parts.draining = True
        self._loop.call_soon_threadsafe(self._begin_to_drain)

    def _begin_to_drain(self) -> None:
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        log.info("draining", open=self._observed.parts.relay.open)
        if self._handed_down:
            self._stop_accepting()
            for server in self.servers:
                server.close()
        await asyncio.sleep(self._observed.parts.settings.drain_lead_s)
        self.should_exit = True
        await asyncio.sleep(self._drain_s)
        # uvicorn cuts connections a second after this; until then every open answer can still say why it ends
        self._observed.parts.relay.fail_all(ServiceUnavailable("The server is restarting. Please try again."))


def configured(app: Any, settings: Settings, *, host: str, port: int, trust_proxy: str) -> uvicorn.Config:
    """uvicorn as we run it.

    Args:
        app: the ASGI application.
        settings: limits of connections, and how long answers may take to finish at the end.
        host: address to listen on.
        port: port to listen on.
        trust_proxy: addresses whose X-Forwarded-* headers are believed; empty: nobody's.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    config = Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=bool(trust_proxy),
        forwarded_allow_ips=trust_proxy or None,
        server_header=False,
        date_header=True,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.drain_s) + 2,
    )
    config.most_connections = min(settings.most_connections, max(1, files - SPARE_FILES))
    config.client_stall_s = settings.client_stall_s
    return config
