"""What can be seen of this machine: room on the disk, file limits; and whether providers can be reached from it."""

from __future__ import annotations

import asyncio
import resource
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from gateway.doctor.finding import Finding, graded, ok, warn
from gateway.http import HttpError, UpstreamTransport
from gateway.installation import UP_FILE
from gateway.private_files import read_json

LEAST_FILES = 65_536
"""A thousand streams take three descriptors each in api and worker; see gateway/up/supervisor.py."""
DISK_WARN, DISK_FAIL = 0.9, 0.97
REACHED_WITHIN_S = 10.0


def disk(state: Path) -> Iterator[Finding]:
    """Room where `wonrouter up` keeps its data; nothing is said of other machines' disks."""
    if not state.is_dir():
        return
    room = shutil.disk_usage(state)
    share = 1 - room.free / room.total
    text = f"{share:.0%} used, {room.free >> 30} GB free at {state}"
    yield graded("disk", share, DISK_WARN, DISK_FAIL, text, "make room: PostgreSQL and Redis stop at the end of it")


def files(state: Path) -> Iterator[Finding]:
    """The running processes' limits where they run here, else what this shell could give them."""
    limits = [limit for pid in _pids(state) if (limit := _soft_limit(pid)) is not None]
    if limits:
        least, whose = min(limits), "of the running processes"
    else:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        least, whose = (
            (sys.maxsize if hard == resource.RLIM_INFINITY else hard),
            "that a process of this shell can have",
        )
    if least < LEAST_FILES:
        yield warn(
            "files",
            f"{least} {whose}",
            f"raise the limit to {LEAST_FILES} (ulimits, LimitNOFILE): streams need three each",
        )
    else:
        yield ok("files", f"{'no limit' if least == sys.maxsize else least} {whose}")


def _pids(state: Path) -> list[int]:
    everyone: dict[str, list[int]] = read_json(state / UP_FILE).get("pids_all", {})
    return [pid for role in ("api", "worker") for pid in everyone.get(role, [])]


def _soft_limit(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()
    except OSError:
        return None  # gone, another user's, or a system without /proc
    for line in lines:
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return sys.maxsize if soft == "unlimited" else int(soft)
    return None


def reachable(addresses: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Whether each (provider, base URL) takes a connection and answers, whatever it answers. No key is sent."""
    asked = sorted(set(addresses))
    for (provider, url), error in zip(asked, asyncio.run(_ask_all([url for _, url in asked])), strict=True):
        if error:
            yield warn(
                f"provider {provider}",
                f"{url}: {error}",
                "look at the network, the proxy and the provider's status page",
            )
        else:
            yield ok(f"provider {provider}", f"{url} answers")


async def _ask_all(urls: list[str]) -> list[str]:
    transport = UpstreamTransport(connect_timeout_s=REACHED_WITHIN_S / 2, allow_private=True)
    try:
        return await asyncio.gather(*(_ask(transport, url) for url in urls))
    finally:
        await transport.aclose()


async def _ask(transport: UpstreamTransport, url: str) -> str:
    try:
        async with asyncio.timeout(REACHED_WITHIN_S):
            response = await transport.send("GET", url, {"user-agent": "WonRouter"}, b"")
            response.close()
    except HttpError as error:
        return type(error).__name__
    return ""
