"""What ``billing`` adds to the ``wonrouter`` command."""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from typing import Any, cast

import click

from billing.commands import closing, dead_letters, exporting, holidays, profiles, rates, retiring, statements

WAIT_S = 30.0


def _stores() -> tuple[Any, Any]:
    """The installation's database, as its owner, and its Redis; closed with the command."""
    # What needs the stores is imported where it is used: help and mistyped options answer at once.
    import gateway.redis
    from gateway import installation, logs
    from gateway.db import connect

    logs.configure("WARNING", "command")  # to standard error: what a command prints is for other programs to read
    found = installation.find()
    engine = connect.engine(found.database_url, statement_timeout_ms=None)
    redis = gateway.redis.connect(found.redis_url)
    command = click.get_current_context()
    command.call_on_close(engine.dispose)
    command.call_on_close(redis.close)
    return engine, redis


def _print(shown: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(shown, ensure_ascii=False))
    else:
        for name, value in shown.items():
            click.echo(f"{name:24} {value}")


_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
def billing() -> None:
    """Run a billing process: settles usage, keeps ledger and credit window. Configured by the environment."""
    from billing import app
    from gateway import logs, tracing
    from gateway.settings import settings

    current = settings()
    logs.configure(current.log_level, "billing")
    tracing.configure("billing")
    try:
        code = app.run(current)
    finally:
        tracing.flush()
    sys.exit(code)


@click.command()
@click.argument("org")
@click.argument("amount", type=click.IntRange(min=1))
@click.option("--reference", required=True, help="The payment's own reference; the same one is booked once.")
@click.option("--method", type=click.Choice(["transfer", "card", "promotion"]), default="transfer", show_default=True)
@_json
def topup(org: str, amount: int, reference: str, method: str, *, as_json: bool) -> None:
    """Give ORG (id or name) credit of AMOUNT whole won, net of VAT, and wait until it can be spent."""
    from billing import topups

    engine, redis = _stores()
    try:
        with engine.connect() as connection:
            found = topups.find_org(connection, org)
        made = topups.request(
            engine, found, amount, reference=reference, method=cast(topups.Method, method), actor="operator"
        )
        _print(topups.wait_until_spendable(engine, redis, made, WAIT_S), as_json=as_json)
    except topups.TopUpError as reason:
        raise click.ClickException(str(reason)) from reason


class Moment(click.ParamType[dt.datetime]):
    """An ISO 8601 date or time; Seoul's where it names no zone."""

    name = "iso"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        """Fails where it is none."""
        from gateway.wire.ids import SEOUL

        try:
            moment = dt.datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value} is not an ISO 8601 time", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=SEOUL)


@click.group(invoke_without_command=True)
@click.option(
    "--since", type=Moment(), help="Admitted at or after this moment (ISO 8601; Seoul where no zone is given)."
)
@click.option("--until", type=Moment(), help="Admitted before this moment.")
@click.option("--org", help="One organisation, by id or name.")
@click.option("--month", help="One billing month, YYYYMM or YYYY-MM.")
@_json
@click.pass_context
def usage(
    ctx: click.Context,
    since: dt.datetime | None, until: dt.datetime | None, org: str | None, month: str | None, *, as_json: bool,
) -> None:  # fmt: skip
    """List settled calls, oldest first: one JSON object a line with --json, else one short line each."""
    if ctx.invoked_subcommand is not None:
        return
    from gateway.accounts.retired import RetiredError

    try:
        _list_usage(since, until, org, month, as_json=as_json)
    except RetiredError as reason:
        raise click.ClickException(str(reason)) from reason


def _list_usage(
    since: dt.datetime | None, until: dt.datetime | None, org: str | None, month: str | None, *, as_json: bool
) -> None:
    from billing import topups
    from billing.usage import usage_lines

    engine, _ = _stores()
    if org is not None:
        try:
            with engine.connect() as connection:
                org = topups.find_org(connection, org)
        except topups.TopUpError as reason:
            raise click.ClickException(str(reason)) from reason
    wanted = month.replace("-", "") if month else None
    for line in usage_lines(engine, since=since, until=until, org=org, month=wanted):
        if as_json:
            click.echo(json.dumps(line, ensure_ascii=False))
        else:
            click.echo(
                f"{line['admitted_at']}  {line['id']}  {line['model']}  {line['prompt_tokens']}+"
                f"{line['completion_tokens']} tokens  ₩{line['cost_krw']}  {line['outcome']}"
                f"{'  estimated' if line['estimated'] else ''}"
            )


usage.add_command(retiring.usage_retire)


@click.group(invoke_without_command=True)
@_json
@click.pass_context
def window(ctx: click.Context, *, as_json: bool) -> None:
    """Show the credit window: balance, holds and slots of every organisation."""
    if ctx.invoked_subcommand is not None:
        return
    from billing.window import shown

    engine, redis = _stores()
    found = shown(engine, redis)
    if as_json:
        click.echo(json.dumps(found))
        return
    for org, reading in found["organisations"].items():
        click.echo(f"{org}  " + "  ".join(f"{name} {value}" for name, value in reading.items()))
    _print({name: value for name, value in found.items() if name != "organisations"}, as_json=False)


@window.command()
@_json
def rebuild(*, as_json: bool) -> None:
    """Build the credit window anew from PostgreSQL and the open jobs; calls are refused for that moment."""
    from billing.lock import SettlerLock
    from billing.window import rebuild as build

    engine, redis = _stores()
    began = time.monotonic()
    with SettlerLock(engine).turn(wait=True) as connection:
        assert connection is not None  # it waits for it
        holds = build(redis, connection, 1_000)
    _print({"rebuilt": True, "holds": holds, "seconds": round(time.monotonic() - began, 3)}, as_json=as_json)


@click.command()
@_json
def reconcile(*, as_json: bool) -> None:
    """Check the books: every number shown must be 0. Exit code 1 where one is not."""
    from billing.reconcile import reconcile as check

    engine, redis = _stores()
    found = check(engine, redis)
    _print(found, as_json=as_json)
    sys.exit(1 if any(found.values()) else 0)


commands = [
    billing,
    topup,
    usage,
    window,
    reconcile,
    *rates.commands,
    *holidays.commands,
    *profiles.commands,
    *closing.commands,
    *exporting.commands,
    *dead_letters.commands,
    *statements.commands,
]
