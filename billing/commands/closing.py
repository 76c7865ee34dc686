"""``wonrouter close``, ``amend`` and ``payment``: the month close by two people who sign in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, cast

import click
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from billing.commands.opened import AS_JSON, acting, opened, show, show_all, signed_in
from gateway.accounts import organisations
from gateway.accounts.people import Person
from gateway.wire.ids import SEOUL

SERIALIZATION_FAILURE = "40001"
_SHOWN = ["org", "name", "month", "amendment", "state", "number", "supply", "vat", "due", "paid", "due_on"]
_ORG = click.option("--org", "organisation", metavar="ORG", help="One organisation (id or exact name) [default: all].")


class Month(click.ParamType[str]):
    """A month, ``YYYYMM`` or ``YYYY-MM``, as ``YYYYMM``."""

    name = "month"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Fails where it is none."""
        from gateway.invoices.calendar import first_of

        month = str(value).replace("-", "")
        try:
            first_of(month)
        except ValueError:
            self.fail(f"{value} is no month", param, ctx)
        return month


class Day(click.ParamType[dt.date]):
    """An ISO date."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.date:
        """Fails where it is none."""
        try:
            return dt.date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value} is no date (YYYY-MM-DD)", param, ctx)


_MONTH = click.argument("month", type=Month())
_Step = Callable[[Connection, str, str, Person], Any]


@click.group()
def close() -> None:
    """Close a month: draft, review by a second person, finalise, issue."""


@close.command("draft")
@_MONTH
@_ORG
@acting
@AS_JSON
def close_draft(month: str, organisation: str | None, email: str, password: str, *, as_json: bool) -> None:
    """Work out MONTH's invoices; again and again until they are final. Refused while its calls are still arriving."""
    from billing.invoices import close as steps

    _each(steps.draft, month, organisation, email, password, as_json=as_json, collected=True, one_picture=True)


@close.command("review")
@_MONTH
@_ORG
@acting
@AS_JSON
def close_review(month: str, organisation: str | None, email: str, password: str, *, as_json: bool) -> None:
    """Say that you have looked at the drafts of MONTH, which somebody else made."""
    from billing.invoices import close as steps

    _each(steps.review, month, organisation, email, password, as_json=as_json)


@close.command("finalise")
@_MONTH
@_ORG
@acting
@AS_JSON
def close_finalise(month: str, organisation: str | None, email: str, password: str, *, as_json: bool) -> None:
    """Number, freeze and book the reviewed drafts of MONTH. Not by who drafted them, and never undone."""
    from billing.invoices import close as steps

    _each(steps.finalise, month, organisation, email, password, as_json=as_json, collected=True)


@close.command("issue")
@_MONTH
@_ORG
@click.option("--on", "issued", type=Day(), help="Day of issue, from which payment terms run [default: today].")
@acting
@AS_JSON
def close_issue(
    month: str, organisation: str | None, issued: dt.date | None, email: str, password: str, *, as_json: bool
) -> None:
    """Note that MONTH's final invoices have gone out."""
    from billing.invoices import close as steps

    day = issued or dt.datetime.now(SEOUL).date()

    def step(connection: Connection, org: str, of: str, person: Person) -> Any:
        latest = steps.stored(connection, org, of)
        if latest and latest[-1].state == "final" and latest[-1].number is None:
            return latest[-1]  # it came to nothing, so nothing goes out
        return steps.issue(connection, org, of, person, day)

    _each(step, month, organisation, email, password, as_json=as_json)


@close.command("approve")
@click.argument("number")
@click.argument("approval")
@acting
def close_approve(number: str, approval: str, email: str, password: str) -> None:
    """Note the tax office's APPROVAL number of the tax invoice for invoice NUMBER."""
    from billing.invoices import close as steps

    with opened() as (engine, _), engine.begin() as connection:
        steps.approve(connection, number, approval, signed_in(connection, email, password))
    click.echo("noted")


@close.command("show")
@_MONTH
@_ORG
@AS_JSON
def close_show(month: str, organisation: str | None, *, as_json: bool) -> None:
    """Show how far MONTH is: open and collecting organisations, drafts, invoices, what is paid."""
    from billing.invoices.overview import standing
    from gateway.finance import holidays
    from gateway.finance.months import overview
    from gateway.invoices.calendar import issue_by

    with opened() as (engine, redis), engine.connect() as connection:
        org = organisations.find(connection, organisation).id if organisation else None
        collected = standing(redis, connection, month)
        rows = overview(connection, month, org)
        last_day = issue_by(month, holidays.declared(connection))
    if not as_json:
        click.echo(f"{month}: {collected}; its tax invoices are to be issued by {last_day}")
    show_all(rows, _SHOWN, as_json=as_json)


@click.command()
@_MONTH
@click.option("--org", "organisation", metavar="ORG", required=True, help="Id or exact name.")
@click.option("--code", required=True, help="Reason code of amended tax invoices, 01 to 06: for a person to choose.")
@click.option("--reason", required=True, help="Why, in words: it stands on the document.")
@acting
@AS_JSON
def amend(month: str, organisation: str, code: str, reason: str, email: str, password: str, *, as_json: bool) -> None:
    """Draft an amendment of a final MONTH from what the books say now; review, finalise and issue as an invoice."""
    from billing.invoices import close as steps

    with opened() as (engine, _), engine.begin() as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        person = signed_in(connection, email, password)
        org = organisations.find(connection, organisation).id
        made = steps.amend(connection, org, month, person, cast("Any", code), reason)
    _show_steps([made], as_json=as_json)


@click.group()
def payment() -> None:
    """Payments received."""


@payment.command("book")
@click.argument("number")
@click.argument("amount", type=click.IntRange(min=1))
@click.option("--on", "paid_on", type=Day(), required=True, help="Day of the payment.")
@click.option("--reference", required=True, help="The bank's own reference; the same one is booked once.")
@acting
@AS_JSON
def payment_book(
    number: str, amount: int, paid_on: dt.date, reference: str, email: str, password: str, *, as_json: bool
) -> None:
    """Book AMOUNT whole won, VAT included, against invoice NUMBER."""
    _book(number, amount, paid_on, reference, email, password, as_json=as_json)


@payment.command("refund")
@click.argument("number")
@click.argument("amount", type=click.IntRange(min=1))
@click.option("--on", "paid_on", type=Day(), required=True, help="Day on which it was given back.")
@click.option("--reference", required=True, help="The bank's own, or which payment was booked by mistake.")
@acting
@AS_JSON
def payment_refund(
    number: str, amount: int, paid_on: dt.date, reference: str, email: str, password: str, *, as_json: bool
) -> None:
    """Book AMOUNT whole won as given back, or a payment as booked by mistake: at most what was received on NUMBER."""
    _book(number, -amount, paid_on, reference, email, password, as_json=as_json)


def _book(
    number: str, amount: int, paid_on: dt.date, reference: str, email: str, password: str, *, as_json: bool
) -> None:
    import dataclasses

    from billing.invoices.payments import book_payment

    with opened() as (engine, _), engine.begin() as connection:
        person = signed_in(connection, email, password)
        done = book_payment(connection, number, amount, paid_on, reference, person)
    show(dataclasses.asdict(done), as_json=as_json)


def _each(
    step: _Step,
    month: str,
    organisation: str | None,
    email: str,
    password: str,
    *,
    as_json: bool,
    collected: bool = False,
    one_picture: bool = False,
) -> None:
    """One step for one organisation or for all that have something in the month, each in a transaction of its own.

    One that is refused keeps none of the others from going on; the exit code tells.
    """
    from billing.invoices import close as steps
    from billing.invoices.collecting import check_month, note_collected

    done: list[Any] = []
    refused = 0
    with opened() as (engine, redis):
        with engine.begin() as connection:
            person = signed_in(connection, email, password)
            if collected:
                check_month(redis, connection, month)
                note_collected(connection, month)
            if organisation:
                orgs = [organisations.find(connection, organisation).id]
            else:
                orgs = steps.organisations_with_usage(connection, month)
        for org in orgs:
            try:
                with engine.begin() as connection:
                    if one_picture:
                        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
                    done.append(step(connection, org, month, person))
            except ValueError as reason:
                refused += 1
                click.echo(f"{org}: {reason}", err=True)
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) != SERIALIZATION_FAILURE:
                    raise
                refused += 1
                click.echo(f"{org}: somebody else is closing it at this moment", err=True)
    _show_steps(done, as_json=as_json)
    if refused:
        raise click.ClickException(f"{refused} of {len(orgs)} organisations were refused")


def _show_steps(done: list[Any], *, as_json: bool) -> None:
    columns = ["org", "month", "amendment", "state", "number", "digest"]
    show_all([{name: getattr(row, name) for name in columns} for row in done], columns, as_json=as_json)


commands = [close, amend, payment]
