"""Stands in for the whole `wonrouter` in tests of the supervisor.

`standin.py up FOLDER OPTIONS…` runs the real supervisor with this file as its children: an api that answers on the
shared socket, and a worker and a billing process that answer /readyz on their metrics port.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"pid": os.getpid(), "env": dict(os.environ)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Quiet."""


def note(line: str) -> None:
    with (Path(os.environ["WONROUTER_STATE"]) / "notes").open("a") as file:
        file.write(line + "\n")


def serve(role: str) -> None:
    def leave(_number: int, _frame: object) -> None:
        if os.environ.get("STANDIN_STUBBORN") == role:
            return
        note(f"stopped {role}")
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    if (Path(os.environ["WONROUTER_STATE"]) / f"break-{role}").exists():
        sys.exit(f"{role} is broken")
    if role == "api":
        probes = HTTPServer(("127.0.0.1", int(os.environ["WONROUTER_METRICS_PORT"])), Answer)
        server = HTTPServer(("127.0.0.1", 0), Answer, bind_and_activate=False)
        server.socket = socket.socket(fileno=int(sys.argv[3]))
    else:
        server = HTTPServer(("127.0.0.1", int(os.environ["WONROUTER_METRICS_PORT"])), Answer)
    note(f"started {role}")
    if role == "api":
        threading.Thread(target=probes.serve_forever, daemon=True).start()
    server.serve_forever()


def demo(database_url: str, redis_url: str, secret: str, known: dict[str, Any] | None) -> dict[str, Any]:
    assert database_url.startswith("postgresql://wonrouter:") and redis_url and secret
    made = {
        "org": "org_demo",
        "bizrouter_key": f"sk-br-v1-{time.time_ns()}",
        "krouter_key": "kr-demo",
        "console_email": "owner@example.com",
        "console_password": "demo",
    }
    return known or made


def up(folder: str, *numbers: str) -> None:
    from gateway.up.command import announce_json
    from gateway.up.supervisor import Options, Preparations, Supervisor

    here = Path(__file__).resolve()
    api, workers = (int(number) for number in numbers or ("1", "1"))
    steps = Preparations(ensure_demo=demo, apply_provider_keys=lambda *_: None, await_demo=lambda *_: None)
    program = (sys.executable, str(here))
    options = Options(state=Path(folder), port=0, api=api, workers=workers, program=program, preparations=steps)
    Supervisor(options, announce_json).run()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["up", *rest]:
            up(*rest)
        case ["migrate"]:
            note("migrated")
        case [role, *_]:
            serve(role)
