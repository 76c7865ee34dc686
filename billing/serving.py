"""``/metrics``, ``/healthz`` and ``/readyz`` of the billing process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


def serve(host: str, port: int, trouble: Callable[[], str]) -> ThreadingHTTPServer:
    """Starts the server in a thread of its own. ``trouble`` says why the process is not ready; empty = it is."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/healthz":
                    self._send(200, "application/json", b'{"status":"ok"}')
                case "/readyz":
                    reason = trouble()
                    body = {"status": "waiting", "reason": reason} if reason else {"status": "ready"}
                    self._send(503 if reason else 200, "application/json", json.dumps(body).encode())
                case "/metrics":
                    self._send(200, CONTENT_TYPE_LATEST, generate_latest())
                case _:
                    self._send(404, "application/json", b'{"status":"not found"}')

        def _send(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            """Probes every second are no news."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
