"""``wonrouter api``: one front end process."""

from __future__ import annotations

import os
import socket

import click


@click.command()
@click.option("--host", default=None, help="Address to listen on [default: WONROUTER_HOST, else 127.0.0.1].")
@click.option("--port", type=int, default=None, help="Port to listen on [default: WONROUTER_PORT, else 8000].")
@click.option("--fd", type=int, default=None, help="An open listening socket, handed down by whoever starts us.")
def api(host: str | None, port: int | None, fd: int | None) -> None:
    """Answer HTTP until SIGTERM. Reads DATABASE_URL, REDIS_URL and WONROUTER_SECRET."""
    from api.app import create_app
    from api.postgres import PostgresSources
    from api.server import Server, configured
    from gateway import garbage, logs, open_files, probes, tracing
    from gateway.settings import settings

    s = settings()
    logs.configure(s.log_level, "api")
    tracing.configure("api")
    open_files.raise_limit()  # a file per connection
    app = create_app(s, PostgresSources(s).sources())
    config = configured(
        app,
        s,
        host=host or s.host,
        port=s.port if port is None else port,
        # uvicorn's own variable: which proxies in front of us are believed
        trust_proxy=os.environ.get("FORWARDED_ALLOW_IPS", ""),
    )
    # by its number uvicorn would take the socket for a UNIX one, and its answers would wait for Nagle
    sockets = None if fd is None else [socket.socket(fileno=fd)]
    health = probes.serve(s, app.parts.missing)
    try:
        Server(config, app, s.drain_s, garbage.settle, handed_down=fd is not None).run(sockets)
    finally:
        if health is not None:
            health.stop()
        tracing.flush()


commands = [api]
