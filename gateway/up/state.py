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


@dataclass(frozen=True)
class Secrets:
    """secret: base64 of 32 bytes. passwords: one for each database role, and Redis's."""

    secret: str
    passwords: dict[str, str] = field(repr=False)


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

    def withdraw(self) -> None:
        """Nobody may take a description of processes that are gone for a running installation."""
        (self.folder / UP_FILE).unlink(missing_ok=True)
