"""One event, one line of JSON, whatever is in it."""

from __future__ import annotations

import json
import subprocess
import sys

WRITES = """
import logging
import structlog
from gateway import logs

logs.configure("INFO", "api")
forged = 'x\\r\\n{"event":"signed_in","person":"owner"}\\u2028\\x1b[2J\\x00'
structlog.get_logger().info("answered", model=forged, nested={"a": [forged]}, unknown=object())
logging.getLogger("library").warning("said %s", forged)
try:
    raise ValueError(forged)
except ValueError:
    structlog.get_logger().exception("failed")
logging.getLogger("library").debug("what travels through it")
"""


def test_a_value_with_line_breaks_stays_in_its_line() -> None:
    done = subprocess.run([sys.executable, "-c", WRITES], capture_output=True, timeout=60, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"].partition(" ")[0] for line in lines] == ["answered", "said", "failed"]
    assert {line["process"] for line in lines} == {"api"}
    assert b"\x1b" not in done.stderr and b"\x00" not in done.stderr
