"""`/metrics`, `/healthz` and `/readyz` of a process that serves no HTTP otherwise."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.settings import Settings


class HealthServer:
    """A small HTTP server in a thread of its own, so that it answers even where the event loop does not.

    Args:
        missing: tells what is missing, in words; empty when the process is ready.
        measure: brings gauges up to date before they are read.
    """

    def __init__(
        self, host: str, port: int, missing: Callable[[], list[str]], measure: Callable[[], None] | None = None
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/healthz":
                    self._send(200, "application/json", b'{"status":"ok"}')
                elif path == "/readyz":
                    lacks = missing()
                    body = {"status": "waiting" if lacks else "ready", "missing": lacks}
                    self._send(503 if lacks else 200, "application/json", json.dumps(body).encode())
                elif path == "/metrics":
                    if measure is not None:
                        measure()
                    self._send(200, CONTENT_TYPE_LATEST, generate_latest())
                else:
                    self._send(404, "application/json", b'{"status":"not found"}')

            def _send(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 its base names them
                """A line per scrape tells nobody anything."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.server_address[1]

    def start(self) -> None:
        """Starts to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stops, and frees the port."""
        self._server.shutdown()
        self._server.server_close()


def serve(
    settings: Settings, missing: Callable[[], list[str]], measure: Callable[[], None] | None = None
) -> HealthServer | None:
    """Starts it where the settings name a port."""
    if not settings.metrics_port:
        return None
    server = HealthServer(settings.metrics_host, settings.metrics_port, missing, measure)
    server.start()
    return server
