"""A server that stays away for as long as a block lasts: the supervisor stands still meanwhile, or it would be back."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import redis

from tests.operating import Installation, until


@contextmanager
def away(installation: Installation, server: str, *, empty: bool = False) -> Iterator[None]:
    """`server` (redis, postgres) killed; with `empty` its data are gone as well. It is there again at the end.

    PostgreSQL's own children are killed with it: they would serve their connections for a moment longer.
    """
    supervisor, pid = installation.process.pid, installation.pids(server)[0]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        family = [pid, *_children(pid)]
        for each in family:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        until(lambda: all(_ended(each) for each in family), f"the end of {server} {pid}")
        if empty:
            shutil.rmtree(installation.state / server / "appendonlydir")
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)
        until(lambda: pid not in installation.pids(server), f"{server} started again")
        until(lambda: answers(installation, server), f"{server} answers")


@contextmanager
def standing_still(pids: list[int]) -> Iterator[None]:
    """These processes do nothing while the block lasts."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def answers(installation: Installation, server: str) -> bool:
    """Whether Redis or PostgreSQL takes commands."""
    try:
        if server == "redis":
            with redis.Redis.from_url(str(installation.up["redis_url"]), socket_timeout=1) as client:
                return bool(client.ping())
        psycopg.connect(str(installation.up["database_url"]), connect_timeout=2).close()
    except (redis.RedisError, psycopg.Error):
        return False
    return True


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _ended(pid: int) -> bool:
    """Gone, or a zombie whose parent stands still."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True
