"""``wonrouter holiday``: days off that the government declares at short notice."""

from __future__ import annotations

import datetime as dt

import click

from billing.commands.closing import Day
from billing.commands.opened import AS_JSON, opened, show, show_all
from gateway.accounts.change import OPERATOR


@click.group()
def holiday() -> None:
    """Temporary holidays (임시공휴일): due dates and the age of exchange rates pass over them."""


@holiday.command("add")
@click.argument("day", type=Day())
@click.option("--name", required=True, help="What it is for.")
@AS_JSON
def holiday_add(day: dt.date, name: str, *, as_json: bool) -> None:
    """Enter DAY. Invoices that were issued before keep their due date."""
    from gateway.finance import holidays

    with opened() as (engine, _), engine.begin() as connection:
        new = holidays.enter(connection, day, name, OPERATOR)
    show({"day": day.isoformat(), "new": new}, as_json=as_json)


@holiday.command("list")
@AS_JSON
def holiday_list(*, as_json: bool) -> None:
    """List what was entered."""
    from gateway.finance import holidays

    with opened() as (engine, _), engine.connect() as connection:
        found = holidays.listed(connection)
    show_all(found, ["day", "name", "entered_by"], as_json=as_json)


commands = [holiday]
