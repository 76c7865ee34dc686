"""Which running installation a command speaks to, and how."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.private_files import read_json
from gateway.seal import Sealer, secret_of, secrets_of

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
    secrets_accepted, hash_secret: as in `gateway.settings`.
    """

    database_url: str
    redis_url: str
    secret: str
    base_url: str | None = None
    secrets_accepted: str = ""
    hash_secret: str = ""

    def sealer(self, purpose: str) -> Sealer:
        """As the installation's processes have it. Raises ValueError for what is no secret."""
        return Sealer(secret_of(self.secret), purpose, secrets_of(self.secrets_accepted))

    @property
    def hash_key(self) -> bytes:
        """What keys the hashes of end users. Raises ValueError."""
        return secret_of(self.hash_secret or self.secret)


def find(state: Path | None = None, environ: Mapping[str, str] = os.environ) -> Installation:
    """The installation of the environment if it names one, else the one that `wonrouter up` keeps in `state`.

    `state` defaults to WONROUTER_STATE, then to `.state`. Raises NoInstallationError.
    """
    url, redis, secret = (environ.get(name, "") for name in ("DATABASE_URL", "REDIS_URL", "WONROUTER_SECRET"))
    more = environ.get("WONROUTER_SECRETS_ACCEPTED", ""), environ.get("WONROUTER_HASH_SECRET", "")
    if url and redis and secret:
        return Installation(url, redis, secret, environ.get("WONROUTER_BASE_URL"), *more)
    folder = state or Path(environ.get(STATE_VARIABLE) or DEFAULT_STATE)
    up, secrets = read_json(folder / UP_FILE), read_json(folder / SECRETS_FILE)
    try:
        return Installation(up["database_url"], up["redis_url"], secrets["secret"], up["base_url"], *more)
    except KeyError as missing:
        raise NoInstallationError(
            f"no running installation in {folder} (start one with `wonrouter up --state {folder}`), "
            "and DATABASE_URL, REDIS_URL and WONROUTER_SECRET are not all set"
        ) from missing
