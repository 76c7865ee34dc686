"""What ``gateway`` adds to the ``wonrouter`` command: ``migrate``, ``doctor``, ``org``, ``key``, ``deployments``,
``member``, ``words``, ``pii``, ``privacy``."""

from __future__ import annotations

import json
import os

import click

from gateway.accounts import alert_commands, policy_commands, privacy_commands
from gateway.accounts.commands import key, org
from gateway.accounts.people_commands import person
from gateway.deployments.commands import deployments
from gateway.doctor.command import doctor


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


commands = [
    migrate, doctor, org, key, person, deployments, *policy_commands.commands, *alert_commands.commands,
    *privacy_commands.commands,
]  # fmt: skip
