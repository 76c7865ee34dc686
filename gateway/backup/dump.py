"""``pg_dump`` and ``pg_restore`` around one database: one consistent moment out, all or nothing in."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from sqlalchemy import Connection, text

from gateway.db import connect, migrate
from gateway.engines import EngineError, find_postgres

_RESTORED = """
UPDATE window_epoch SET epoch = epoch + 1, redis_run_id = NULL, changed_at = now()
"""
# A Redis that outlived its database speaks of another past: under this epoch nobody is admitted until the window is
# built from what was restored.


class BackupError(Exception):
    """It cannot be done; the text is for the person who asked."""


def program(name: str) -> str:
    """A client program of PostgreSQL's: the embedded wheel's, else what PATH has. Raises ``BackupError``."""
    try:
        found = Path(find_postgres().path(name))
    except EngineError:
        found = None
    if found is not None and found.exists():
        return str(found)
    if on_path := shutil.which(name):
        return on_path
    raise BackupError(f"there is no {name}: install PostgreSQL's client programs, or the project's `embedded` extra")


def dump(database_url: str, file: Path) -> int:
    """Writes the database, as it is at one moment, to a new file in ``pg_dump``'s custom format. Returns its bytes.

    Raises ``BackupError``; there is no file then.
    """
    if file.exists():
        raise BackupError(f"{file} exists already")
    partial = file.with_name(f".{file.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            _run([program("pg_dump"), "--format=custom", "--no-password"], database_url, stdout=out.fileno())
            os.fsync(out.fileno())
        listing = _run([program("pg_restore"), "--list", str(partial)], None)
        if b"TABLE DATA public entry " not in listing:
            raise BackupError("what was written has no ledger in it")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return file.stat().st_size


def restore(database_url: str, file: Path) -> str:
    """Fills an empty database, brings it to this version's schema, and closes its credit window until that is rebuilt.

    In one transaction: it is all there, or nothing. Returns the schema's revision in the file. Raises ``BackupError``.
    """
    engine = connect.engine(database_url, pool_size=1, statement_timeout_ms=None)
    try:
        with engine.begin() as connection:
            if not _is_empty(connection):
                raise BackupError("the database is not empty: restore into a new one, and point the processes at it")
            migrate.ensure_roles(connection, {})
        options = ["--no-owner", "--single-transaction", "--exit-on-error", "--no-password"]
        _run([program("pg_restore"), *options, f"--dbname={_without_password(database_url)}", str(file)], database_url)
        with engine.begin() as connection:
            found = migrate.revision(connection)
            connection.execute(text(_RESTORED))
        migrate.upgrade(database_url)
    finally:
        engine.dispose()
    return found


def _is_empty(connection: Connection) -> bool:
    count = connection.execute(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")).scalar_one()
    return count == 0


def _run(command: list[str], database_url: str | None, stdout: int = subprocess.PIPE) -> bytes:
    """What the program printed. The password travels by the environment, where other users cannot read it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    if database_url is not None:
        parts = urlsplit(database_url)
        environ["PGPASSWORD"] = unquote(parts.password or "")
        if "pg_dump" in command[0]:
            command = [*command, f"--dbname={_without_password(database_url)}"]
    done = subprocess.run(command, env=environ, stdout=stdout, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise BackupError(f"{Path(command[0]).name} failed: {' '.join(said[-3:])[:600]}")
    return done.stdout or b""


def _without_password(database_url: str) -> str:
    parts = urlsplit(database_url)
    user, at, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{place}"))
