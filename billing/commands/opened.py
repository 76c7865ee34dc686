"""The running installation's stores for one command, its errors as plain lines, and who is acting."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import click
from sqlalchemy import Connection, Engine

from gateway.accounts import people
from gateway.errors import GatewayError
from gateway.wire import keys
from gateway.wire.news import News, encode_news

Command = TypeVar("Command", bound=Callable[..., Any])
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Opened(NamedTuple):
    """The database, as its owner, and Redis."""

    engine: Engine
    redis: Any


@contextmanager
def opened() -> Generator[Opened]:
    """Both stores, closed afterwards. What the rooms raise for people becomes one line and exit code 1."""
    import gateway.redis
    from gateway import installation, logs
    from gateway.db import connect

    logs.configure("WARNING", "command")
    found = installation.find()
    engine = connect.engine(found.database_url, pool_size=1, statement_timeout_ms=None)
    redis = gateway.redis.connect(found.redis_url)
    try:
        yield Opened(engine, redis)
    except GatewayError as error:
        raise click.ClickException(error.message) from error
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    finally:
        redis.close()
        engine.dispose()


def tell_catalogue(redis: Any) -> None:
    """After the commit: every front end loads prices and rates again."""
    redis.execute_command("PUBLISH", keys.NEWS, encode_news(News("catalogue")))


def acting(command: Command) -> Command:
    """``--as EMAIL`` and its password: who does it, for the two-person rule and for the log."""
    for option in (
        click.option("--as", "email", required=True, metavar="EMAIL", help="Who does this: a person of the operator."),
        click.option("--password", envvar="WONROUTER_PASSWORD", prompt=True, hide_input=True, expose_value=True,
                     help="Asked for, or read from WONROUTER_PASSWORD."),
    ):  # fmt: skip
        command = option(command)
    return command


def signed_in(connection: Connection, email: str, password: str) -> people.Person:
    """The person behind ``--as``. Fails for a wrong password, and for one who does not run the installation."""
    person = people.verify(connection, email, password)
    if person is None:
        raise click.ClickException("no such person, or the password is wrong")
    if not person.operator:
        raise click.ClickException("this is for people who run the installation")
    return person


def show(values: dict[str, Any], *, as_json: bool) -> None:
    """One thing, as JSON or a line per value."""
    if as_json:
        click.echo(json.dumps(values, ensure_ascii=False, default=str))
        return
    width = max(map(len, values), default=0)
    for name, value in values.items():
        click.echo(f"{name:<{width}}  {'-' if value is None else value}")


def show_all(rows: Iterable[dict[str, Any]], columns: list[str], *, as_json: bool) -> None:
    """Many things, as a JSON list or a table."""
    found = list(rows)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, default=str))
        return
    table = [columns, *([_cell(row[column]) for column in columns] for row in found)]
    widths = [max(len(row[place]) for row in table) for place in range(len(columns))]
    for row in table:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)
