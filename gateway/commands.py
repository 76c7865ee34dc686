"""What ``gateway`` adds to the ``wonrouter`` command: ``migrate``, ``doctor``, ``org``, ``key``, ``deployments``,
``member``, ``words``, ``pii``, ``privacy``, ``secret``."""

from __future__ import annotations

import json
import os
import sys

import click
import msgspec

from gateway import installation
from gateway.accounts import alert_commands, policy_commands, privacy_commands
from gateway.accounts.change import OPERATOR, changing
from gateway.accounts.commands import AS_JSON, key, opened, org
from gateway.accounts.people_commands import person
from gateway.deployments.commands import deployments
from gateway.doctor.command import doctor
from gateway.resealing import look


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def migrate(*, as_json: bool) -> None:
    """Bring the database to the newest schema and add what a new one needs.

    Reads DATABASE_URL (the owner's) and the roles' passwords from WONROUTER_API_DB_PASSWORD,
    WONROUTER_WORKER_DB_PASSWORD and WONROUTER_BILLING_DB_PASSWORD; a role without one keeps the login it has.
    """
    from gateway.db import migrate as migrations  # Alembic takes half a second to import
    from gateway.db.seed import seed

    url = os.environ.get("DATABASE_URL")
    if not url:
        raise click.UsageError("DATABASE_URL is not set: it names the database as its owner reaches it")
    passwords = {
        role: password
        for role in migrations.ROLES
        if (password := os.environ.get(f"{role.upper()}_DB_PASSWORD"))  # wonrouter_api -> WONROUTER_API_DB_PASSWORD
    }
    migrations.upgrade(url, passwords)
    seed(url)
    click.echo(json.dumps({"migrated": True}) if as_json else "The database is up to date.")


@click.group()
def secret() -> None:
    """WONROUTER_SECRET, and what it seals."""


@secret.command()
@AS_JSON
def reseal(*, as_json: bool) -> None:
    """Seal stored provider keys and webhook secrets anew with WONROUTER_SECRET where an accepted secret sealed them.

    Run it once every process has the new secret; docs/operations.md has the whole procedure. Exit code 1: something is
    stored that none of the secrets opens.
    """
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        found = look(change.connection, installation.find().settings().sealer, reseal=True)
        if found.accepted:
            change.audit("secret.reseal", "installation", None, resealed=found.accepted)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        click.echo(f"{found.accepted} values were sealed anew, {found.own} were already.")
        for what in found.unopenable:
            click.echo(f"none of the secrets opens the {what}", err=True)
    if found.unopenable:
        sys.exit(1)


commands = [
    migrate, doctor, secret, org, key, person, deployments, *policy_commands.commands, *alert_commands.commands,
    *privacy_commands.commands,
]  # fmt: skip
