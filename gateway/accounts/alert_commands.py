"""``wonrouter alerts``: who is told when a limit runs out, from a terminal."""

from __future__ import annotations

from typing import Any, cast

import click

from gateway import installation
from gateway.accounts import alerts, alerts_log, organisations
from gateway.accounts.change import OPERATOR, changing
from gateway.accounts.commands import AS_JSON, opened, show, show_all

ORG = click.argument("organisation", metavar="ORG")


@click.group("alerts")
def alerts_group() -> None:
    """Alerts at 50, 80 and 100 % of a limit (ORG: id or exact name)."""


@alerts_group.command("show")
@ORG
@AS_JSON
def alerts_show(organisation: str, *, as_json: bool) -> None:
    """Show who is told, and when."""
    with opened() as (engine, _), engine.connect() as connection:
        found = alerts.get(connection, organisations.find(connection, organisation).id)
    show(found, as_json=as_json)


@alerts_group.command("set")
@ORG
@click.option("--thresholds", metavar="LIST", help="Percents among 50,80,100, separated by commas; 'none' for none.")
@click.option("--mail-people/--no-mail-people", default=None, help="Mail to owners and finance people.")
@click.option("--emails", metavar="LIST", help="Further addresses, separated by commas; 'none' for none.")
@click.option("--webhook", metavar="URL", help="Where to post; 'none' takes the webhook away.")
@click.option("--rotate-secret", is_flag=True, help="Give the webhook a new secret.")
@AS_JSON
def alerts_set(
    organisation: str,
    *,
    thresholds: str | None,
    mail_people: bool | None,
    emails: str | None,
    webhook: str | None,
    rotate_secret: bool,
    as_json: bool,
) -> None:
    """Change who is told. A secret is shown once, when it is made."""
    values: dict[str, Any] = {}
    if thresholds is not None:
        values["thresholds"] = _percents(thresholds)
    if mail_people is not None:
        values["mail_people"] = mail_people
    if emails is not None:
        values["emails"] = _listed(emails)
    if webhook is not None:
        values["webhook_url"] = None if webhook == "none" else webhook
    if not values and not rotate_secret:
        raise click.UsageError("nothing to change")
    sealer = installation.find().settings().sealer(alerts.PURPOSE)
    made: str | None = None
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        org = organisations.find(change.connection, organisation).id
        if values:
            # whoever runs the installation may name any address; deliveries are held to its settings all the same
            _, made = alerts.update(change, org, cast("alerts.Settings", values), sealer, allow_private=True)
        if rotate_secret:
            made = alerts.rotate_secret(change, org, sealer)
        found = alerts.get(change.connection, org)
    show(found, as_json=as_json, **({} if made is None else {"webhook_secret": made}))


@alerts_group.command("test")
@ORG
@AS_JSON
def alerts_test(organisation: str, *, as_json: bool) -> None:
    """Send a test over every channel; `deliveries` shows how it went."""
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        org = organisations.find(change.connection, organisation).id
        sent = alerts_log.send_test(change, org)
    show_all(sent, ["id", "channel", "target", "state"], as_json=as_json)


@alerts_group.command("deliveries")
@ORG
@click.option("--most", default=50, show_default=True, help="How many, newest first.")
@AS_JSON
def alerts_deliveries(organisation: str, most: int, *, as_json: bool) -> None:
    """List deliveries with every try."""
    with opened() as (engine, _), engine.connect() as connection:
        org = organisations.find(connection, organisation).id
        found = alerts_log.deliveries(connection, org, most=most)
    if as_json:
        show_all(found, [], as_json=True)
        return
    columns = ["created_at", "channel", "target", "state", "tries"]
    rows = [columns, *([str(d.created_at), d.channel, d.target, d.state, _tries(d)] for d in found)]
    for row in rows:
        click.echo("  ".join(row))


def _tries(delivery: alerts_log.Delivery) -> str:
    return ",".join(str(attempt.status or attempt.error) for attempt in delivery.attempts) or "-"


def _percents(text: str) -> list[int]:
    try:
        return [int(percent) for percent in _listed(text)]
    except ValueError:
        raise click.BadParameter("percents are whole numbers", param_hint="--thresholds") from None


def _listed(text: str) -> list[str]:
    return [] if text == "none" else [part.strip() for part in text.split(",") if part.strip()]


commands = [alerts_group]
