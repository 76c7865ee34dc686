"""Which running installation a command speaks to, and how."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.private_files import read_json

if TYPE_CHECKING:
    from gateway.settings import Settings

STATE_VARIABLE = "WONROUTER_STATE"
DEFAULT_STATE = Path(".state")
UP_FILE = "up.json"
SECRETS_FILE = "secrets.json"
DEMO_FILE = "demo.json"


class NoInstallationError(Exception):
    """No installation runs where we looked; the text says where that was and what to do."""


@dataclass(frozen=True)
class Installation:
    """How to reach one installation.

    database_url: as the role that owns the tables.
    secret: base64 of 32 bytes; every stored provider key and sealed body depends on it.
    base_url: of the BizRouter dialect; None where the environment does not tell it.
    """

    database_url: str
    redis_url: str
    secret: str
    base_url: str | None = None

    def settings(self) -> Settings:
        """As its processes have them, the rest from this environment. Raises pydantic.ValidationError."""
        from gateway.settings import Settings  # a third of a second, which most commands do not need

        return Settings(database_url=self.database_url, redis_url=self.redis_url, secret=self.secret)  # pyright: ignore[reportArgumentType]


def find(state: Path | None = None, environ: Mapping[str, str] = os.environ) -> Installation:
    """The installation of the environment if it names one, else the one that `wonrouter up` keeps in `state`.

    `state` defaults to WONROUTER_STATE, then to `.state`. Raises NoInstallationError.
    """
    url, redis, secret = (environ.get(name, "") for name in ("DATABASE_URL", "REDIS_URL", "WONROUTER_SECRET"))
    if url and redis and secret:
        return Installation(url, redis, secret, environ.get("WONROUTER_BASE_URL"))
    folder = state or Path(environ.get(STATE_VARIABLE) or DEFAULT_STATE)
    up, secrets = read_json(folder / UP_FILE), read_json(folder / SECRETS_FILE)
    try:
        return Installation(up["database_url"], up["redis_url"], secrets["secret"], up["base_url"])
    except KeyError as missing:
        raise NoInstallationError(
            f"no running installation in {folder} (start one with `wonrouter up --state {folder}`), "
            "and DATABASE_URL, REDIS_URL and WONROUTER_SECRET are not all set"
        ) from missing
