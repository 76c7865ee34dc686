"""The state folder: what an installation keeps between two starts, and what it tells other commands while it runs."""

from __future__ import annotations

import base64
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gateway.engines import EngineError
from gateway.installation import DEMO_FILE, SECRETS_FILE, UP_FILE
from gateway.private_files import FileLock, make_private_folder, read_json, write_private_json

_PASSWORDS = ("superuser", "owner", "api", "worker", "billing", "redis")
_PORTS_FILE = "ports.json"
_RESTART_FILE = "restart.json"
ROLES = ("api", "worker", "billing")
"""In the order in which they start, and stop: from the front door inwards."""
_REPLACED = ("billing", "worker", "api")
"""What new front ends ask for, new workers have to know already, and what these write, billing."""


@dataclass(frozen=True)
class Secrets:
    """secret: base64 of 32 bytes. passwords: one for each database role, and Redis's."""

    secret: str
    passwords: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class Restart:
    """Somebody's wish to have the processes of these roles replaced."""

    id: str
    roles: tuple[str, ...]


class State:
    """One installation's folder, 0700. Only one `up` at a time may hold it."""

    def __init__(self, folder: Path) -> None:
        self.folder = make_private_folder(folder.absolute())
        self.logs = make_private_folder(self.folder / "logs")
        self._lock = FileLock(self.folder / ".lock")

    def lock(self) -> None:
        """Raises EngineError if another `wonrouter up` runs on this folder."""
        if not self._lock.acquire():
            raise EngineError(f"another `wonrouter up` runs on {self.folder}: stop it, or choose another --state")

    def unlock(self) -> None:
        self._lock.release()

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def secrets(self) -> Secrets:
        """Those of the first start. They open the database and every sealed value, so losing the file loses both."""
        path = self.folder / SECRETS_FILE
        kept = read_json(path)
        passwords: dict[str, str] = kept.get("passwords", {})
        complete = Secrets(
            secret=kept.get("secret") or base64.b64encode(secrets.token_bytes(32)).decode(),
            passwords={name: passwords.get(name) or secrets.token_urlsafe(24) for name in _PASSWORDS},
        )
        if asdict(complete) != kept:
            write_private_json(path, asdict(complete))
        return complete

    def ports(self) -> dict[str, int]:
        """The engines' ports of the last start, so that a tool's saved connection goes on working."""
        return read_json(self.folder / _PORTS_FILE)

    def remember_ports(self, chosen: dict[str, int]) -> None:
        write_private_json(self.folder / _PORTS_FILE, chosen)

    def demo(self) -> dict[str, Any] | None:
        """The demo organisation's keys and password as made at the first start; the database has only their hashes."""
        return read_json(self.folder / DEMO_FILE) or None

    def remember_demo(self, demo: dict[str, Any]) -> None:
        write_private_json(self.folder / DEMO_FILE, demo)

    def publish(self, description: dict[str, Any]) -> None:
        write_private_json(self.folder / UP_FILE, description)

    def published(self) -> dict[str, Any]:
        """What a running `up` says of itself; empty where none runs."""
        return read_json(self.folder / UP_FILE)

    def ask_to_restart(self, wish: Restart) -> None:
        """For `wonrouter up`, which looks at SIGUSR1. A later wish takes the place of an earlier one."""
        write_private_json(self.folder / _RESTART_FILE, asdict(wish))

    def restart_asked(self) -> Restart | None:
        """The wish, taken away."""
        path = self.folder / _RESTART_FILE
        kept = read_json(path)
        path.unlink(missing_ok=True)
        if not kept:
            return None
        return Restart(str(kept["id"]), tuple(role for role in _REPLACED if role in kept["roles"]))

    def withdraw(self) -> None:
        """Nobody may take a description of processes that are gone for a running installation."""
        (self.folder / UP_FILE).unlink(missing_ok=True)
