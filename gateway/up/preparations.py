"""What has to be in the database before the processes start: tables, the demo organisation, deployments."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.engines import EngineError
from gateway.engines.leash import Leash, last_lines

DEMO_SECONDS = 120.0
"""Billing books it within a second, unless the machine is under load."""


def migrate(program: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Run `wonrouter migrate` as operators do in production. Raises EngineError with the end of its log."""
    child = Leash(log=log).spawn([*program, "migrate"], env=environment)
    try:
        code = child.wait(600)  # the longest migration of a large table, with room
    except subprocess.TimeoutExpired:
        child.kill()
        code = child.wait()
    if code != 0:
        raise EngineError(f"`wonrouter migrate` failed (code {code}){last_lines(log)}")


def ensure_demo(database_url: str, redis_url: str, secret: str, known: dict[str, Any] | None) -> dict[str, Any]:
    """The demo organisation: its keys, and its owner's e-mail and password."""
    from gateway.accounts import demo

    return demo.ensure_demo(database_url, redis_url, secret, known=known)


def await_demo(database_url: str, org: str) -> None:
    """Until the demo organisation's credit is booked: the printed curl line has to work. Raises EngineError."""
    from gateway.accounts import demo

    if not demo.wait_until_usable(database_url, org, DEMO_SECONDS):
        raise EngineError("the billing process did not book the demo organisation's credit")


def apply_provider_keys(database_url: str, redis_url: str, secret: str) -> None:
    """Make deployments of the provider keys in the environment (OPENAI_API_KEY and its like)."""
    from gateway import deployments

    deployments.from_environment(database_url, redis_url, secret, os.environ)
