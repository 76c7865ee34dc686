"""One PostgreSQL server on the loopback address, under our control."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from gateway.engines import ports
from gateway.engines.leash import EngineError, Leash, last_lines, stop
from gateway.engines.resolve import PostgresPrograms, find_postgres
from gateway.engines.unprivileged import Identity, choose_identity
from gateway.private_files import FileLock, write_private

SUPERUSER = "postgres"
OWNER = "wonrouter"
DATABASE = "wonrouter"
# Crash recovery replays the write-ahead log before it answers: with the default of 1 GB between checkpoints that is
# well under this on a slow disk.
START_SECONDS = 300.0
# A fast shutdown cuts its clients and writes one checkpoint.
STOP_SECONDS = 30.0
# api, worker and billing processes hold about 15 connections each; this leaves room for eight of them and a person.
MAX_CONNECTIONS = 200

_SETTINGS = {
    "listen_addresses": ports.LOOPBACK,
    "unix_socket_directories": "",  # a path in a deep state folder would pass the limit of 107 bytes
    "max_connections": str(MAX_CONNECTIONS),
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_THROWAWAY_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",  # its workers belong to the superuser, and a database that one is in cannot be dropped by its owner
}


class PostgresServer:
    """A cluster in `folder`/MAJOR, made on first start.

    folder: private to this server; the major version names the cluster in it, so an upgrade never opens old files.
    superuser_password, owner_password: set when the cluster is made, needed unchanged ever after.
    port: tried first; another is chosen at the start if it is taken, and kept while the server is only restarted.
    throwaway: trade durability for speed; for tests only.
    """

    name = "postgres"

    def __init__(
        self,
        folder: Path,
        *,
        log: Path,
        superuser_password: str,
        owner_password: str,
        port: int | None = None,
        throwaway: bool = False,
        programs: PostgresPrograms | None = None,
        identity: Identity | None = None,
    ) -> None:
        self._programs = programs or find_postgres()
        self._identity = identity or choose_identity()
        self._leash = Leash(log=log, on_parent_death=signal.SIGINT, become=self._identity.become)
        self._superuser_password = superuser_password
        self._owner_password = owner_password
        self._throwaway = throwaway
        self.folder = folder
        self.data = folder / str(self._programs.major)
        self.port = port or 0
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, user: str, password: str, database: str = DATABASE) -> str:
        return f"postgresql://{quote(user, '')}:{quote(password, '')}@{ports.LOOPBACK}:{self.port}/{database}"

    @property
    def owner_url(self) -> str:
        """The role that owns the tables: it may create roles and databases, and is no superuser, as in production."""
        return self.url(OWNER, self._owner_password)

    @property
    def superuser_url(self) -> str:
        return self.url(SUPERUSER, self._superuser_password, "postgres")

    def start(self) -> None:
        """Make the cluster if needed, start it, wait until it answers, see that owner and database exist."""
        self.spawn(patience=STOP_SECONDS)
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if time.monotonic() > deadline:
                self.stop()
                raise EngineError(
                    f"PostgreSQL did not answer within {START_SECONDS:.0f} s{last_lines(self._leash.log)}"
                )
            time.sleep(0.02)
        self._ensure_owner()

    def spawn(self, patience: float = 0.0) -> None:
        """Start the server without waiting for it. `patience`: how many seconds an earlier one may take to end.

        Raises EngineError if processes of an earlier server still use the data.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        if not lock.acquire(patience):
            raise EngineError(f"another PostgreSQL still uses {self.data}")
        try:
            self._ensure_cluster()
            _clear_stale_pid_file(self.data)
            if self.process is None:  # after the lock: the server before may only now have let go of its port
                self.port = ports.keep_or_choose(self.port)
            # The server's processes inherit the lock, so it is held until the last of them has ended.
            self.process = self._leash.spawn(self._command(), env=_environment(), pass_fds=(lock.descriptor,))
        finally:
            lock.release()

    def is_ready(self) -> bool:
        """Whether it takes connections. Raises EngineError if it ended or refuses our password."""
        if self.process is None or self.process.poll() is not None:
            raise EngineError(f"PostgreSQL ended during its start{last_lines(self._leash.log)}")
        try:
            psycopg.connect(self.superuser_url, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise EngineError(f"the passwords kept for {self.data} are not those it was made with") from error
            return False
        return True

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process, signal.SIGINT, STOP_SECONDS)
            self.process = None

    def _command(self) -> list[str]:
        settings = _SETTINGS | {"port": str(self.port)} | (_THROWAWAY_SETTINGS if self._throwaway else {})
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self._programs.path("postgres"), "-D", str(self.data.absolute()), *options]

    def _ensure_cluster(self) -> None:
        if (self.data / "PG_VERSION").exists():
            self._identity.own(self.data)
            return
        partial = self.folder / f".{self.data.name}.partial"  # an interrupted initdb leaves this, never half a cluster
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        password_file = self.folder / ".password"
        write_private(password_file, self._superuser_password)
        try:
            self._identity.own(partial)
            self._identity.own(password_file)
            self._initdb(partial, password_file)
        finally:
            password_file.unlink()
        partial.replace(self.data)

    def _initdb(self, folder: Path, password_file: Path) -> None:
        command = [
            self._programs.path("initdb"),
            f"--pgdata={folder.absolute()}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file.absolute()}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # PostgreSQL's own collation: the same order on every system, whatever its C library has.
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            *(["--no-sync"] if self._throwaway else []),
        ]
        if self._leash.spawn(command, env=_environment()).wait() != 0:
            raise EngineError(f"initdb failed{last_lines(self._leash.log)}")

    def _ensure_owner(self) -> None:
        with psycopg.connect(self.superuser_url, autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone() is None:
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN CREATEROLE CREATEDB PASSWORD {}").format(
                        sql.Identifier(OWNER), sql.Literal(self._owner_password)
                    )
                )
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(OWNER))
                )


def _environment() -> Mapping[str, str]:
    """Ours without what would change the server: PGDATA, PGOPTIONS and their kind, and the locale of the terminal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


def _clear_stale_pid_file(data: Path) -> None:
    """Remove `postmaster.pid` if its process is not a server of this folder.

    PostgreSQL itself only asks whether a process with that number exists. After a SIGKILL the number may belong to a
    zombie that nobody reaps (a container without init) or to a stranger, and it would refuse to start for ever.
    The caller holds the folder's lock, so a live server here was started by somebody else: it is left alone.
    """
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text(encoding="ascii").splitlines()[0])
    except FileNotFoundError:
        return
    except (ValueError, IndexError):  # cut off by a crash in the middle of writing
        pid = 0
    if pid > 0 and _serves(pid, data):
        raise EngineError(f"a PostgreSQL that we did not start (pid {pid}) uses {data}")
    pid_file.unlink(missing_ok=True)


def _serves(pid: int, data: Path) -> bool:
    """Whether `pid` is a living server of `data`: a postmaster's working directory is its data folder."""
    if sys.platform == "linux":
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            return state not in "ZX" and Path(f"/proc/{pid}/cwd").resolve() == data.resolve()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False  # gone, or another user's: our server would run as us
    said = subprocess.run(["ps", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return not said.stdout.startswith("Z") and str(data) in said.stdout
