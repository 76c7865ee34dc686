"""``wonrouter person``: the people who run the installation. Passwords come from a prompt or the environment."""

from __future__ import annotations

import click

from gateway import installation
from gateway.accounts import people
from gateway.accounts.change import OPERATOR, Change
from gateway.db import connect
from gateway.errors import GatewayError

_PASSWORD = click.option(
    "--password", envvar="WONROUTER_PASSWORD", prompt=True, hide_input=True, confirmation_prompt=True,
    help="Asked for, or read from WONROUTER_PASSWORD.",
)  # fmt: skip


@click.group()
def person() -> None:
    """People who sign in."""


@person.command("create")
@click.argument("email")
@click.option("--name", required=True)
@click.option("--operator", is_flag=True, help="Runs the installation: may close months.")
@_PASSWORD
def person_create(email: str, name: str, *, operator: bool, password: str) -> None:
    """Make a person with this address and a password."""
    engine = connect.engine(installation.find().database_url, pool_size=1)
    try:
        with engine.begin() as connection:
            made = people.create(Change(connection, OPERATOR), email, name, password, operator=operator)
    except GatewayError as error:
        raise click.ClickException(error.message) from error
    finally:
        engine.dispose()
    click.echo(made.id)
