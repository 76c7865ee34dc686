"""``wonrouter billing-profile`` and ``wonrouter issuer``: who bills whom."""

from __future__ import annotations

from typing import Any

import click

from billing.commands.opened import AS_JSON, Command, opened, show
from gateway.accounts import organisations
from gateway.accounts.change import OPERATOR

_ORG = click.argument("organisation", metavar="ORG")


def _party(command: Command) -> Command:
    for option in (
        click.option("--legal-name", help="상호."),
        click.option("--registration", help="사업자등록번호: its check digit is checked."),
        click.option("--branch", help="종사업장번호."),
        click.option("--representative", help="대표자."),
        click.option("--address", help="사업장 주소."),
        click.option("--business-type", help="업태."),
        click.option("--business-item", help="종목."),
        click.option("--email", help="Where tax invoices go."),
        click.option("--email2"),
        AS_JSON,
    ):
        command = option(command)
    return command


def _given(fields: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


@click.group("billing-profile")
def billing_profile() -> None:
    """How an organisation is billed: company data, VAT, payment terms."""


@billing_profile.command("set")
@_ORG
@click.option("--vat", type=click.Choice(["exclusive", "inclusive", "zero_rated"]))
@click.option("--vat-rounding", type=click.Choice(["floor", "half_up", "ceil"]))
@click.option(
    "--terms", help="days:30 after issue, day:31 = next month's last day, day:25+2 = the 25th two months later."
)
@click.option("--payment-method", type=click.Choice(["transfer", "card"]))
@_party
def profile_set(organisation: str, *, as_json: bool, **fields: Any) -> None:
    """Enter or change what is given (ORG: id or exact name)."""
    from gateway.invoices import parties

    with opened() as (engine, _), engine.begin() as connection:
        org = organisations.find(connection, organisation).id
        changed = parties.set_profile(connection, org, _given(fields), OPERATOR)
    show(changed, as_json=as_json)


@billing_profile.command("show")
@_ORG
@AS_JSON
def profile_show(organisation: str, *, as_json: bool) -> None:
    """Show it (ORG: id or exact name)."""
    from gateway.invoices import parties

    with opened() as (engine, _), engine.connect() as connection:
        found = parties.shown(connection, organisations.find(connection, organisation).id)
    if found is None:
        raise click.ClickException("nothing has been entered yet")
    show(found, as_json=as_json)


@click.group()
def issuer() -> None:
    """The company behind this installation, as it stands on invoices."""


@issuer.command("set")
@click.option("--code", help="What invoice numbers begin with: up to 8 capital letters or digits.")
@click.option("--bank", help="Where customers pay to.")
@click.option("--bank-number")
@click.option("--bank-holder")
@_party
def issuer_set(*, as_json: bool, **fields: Any) -> None:
    """Enter or change what is given."""
    from gateway.invoices import parties

    with opened() as (engine, _), engine.begin() as connection:
        changed = parties.set_issuer(connection, _given(fields), OPERATOR)
    show(changed, as_json=as_json)


@issuer.command("show")
@AS_JSON
def issuer_show(*, as_json: bool) -> None:
    """Show it."""
    from gateway.invoices import parties

    with opened() as (engine, _), engine.connect() as connection:
        found = parties.shown(connection)
    if found is None:
        raise click.ClickException("nothing has been entered yet")
    show(found, as_json=as_json)


commands = [billing_profile, issuer]
