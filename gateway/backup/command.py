"""``wonrouter backup`` and ``wonrouter restore`` as people type them."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click

from gateway import installation
from gateway.installation import NoInstallationError

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_json
def backup(file: Path, *, as_json: bool) -> None:
    """Write the running installation's database to FILE, as it is at one moment; calls go on meanwhile.

    WONROUTER_SECRET is not in it: keep that elsewhere.
    """
    from gateway.backup.dump import BackupError, dump

    try:
        size = dump(installation.find().database_url, file)
    except BackupError as reason:
        raise click.ClickException(str(reason)) from reason
    shown = {"file": str(file), "bytes": size}
    click.echo(json.dumps(shown) if as_json else f"{file}: {size} bytes. Keep WONROUTER_SECRET elsewhere.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_json
def restore(file: Path, *, as_json: bool) -> None:
    """Fill an empty database from FILE: that of DATABASE_URL (as its owner), else that of the state folder, which must
    not be running, and which needs the secrets.json of the installation that was backed up.
    """
    from gateway.backup.dump import BackupError, restore
    from gateway.engines import EngineError

    try:
        with _target() as database_url:
            revision = restore(database_url, file)
    except (BackupError, EngineError) as reason:
        raise click.ClickException(str(reason)) from reason
    shown = {"restored": True, "revision": revision}
    click.echo(
        json.dumps(shown)
        if as_json
        else f"Restored (schema {revision}). Start the processes: billing opens the credit window, then run "
        "`wonrouter reconcile` and `wonrouter doctor`."
    )


@contextmanager
def _target() -> Generator[str]:
    """The owner's URL of the database to fill; a state folder's server runs for that long."""
    from gateway.engines import PostgresServer
    from gateway.up.state import State

    if named := os.environ.get("DATABASE_URL"):
        yield named
        return
    folder = Path(os.environ.get(installation.STATE_VARIABLE) or installation.DEFAULT_STATE)
    if not (folder / installation.SECRETS_FILE).exists():
        raise NoInstallationError(
            f"{folder} holds no {installation.SECRETS_FILE}: put that of the installation that was backed up there, or set "
            "DATABASE_URL"
        )
    state = State(folder)
    state.lock()
    try:
        passwords = state.secrets().passwords
        server = PostgresServer(
            state.folder / "postgres",
            log=state.log("postgres"),
            superuser_password=passwords["superuser"],
            owner_password=passwords["owner"],
        )
        server.start()
        try:
            yield server.owner_url
        finally:
            server.stop()
    finally:
        state.unlock()
