"""``wonrouter org`` and ``wonrouter key``: what operators do to accounts from a terminal, with the owner's rights."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Generator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar, cast

import click
import msgspec
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine

from gateway import installation
from gateway import redis as redis_clients
from gateway.accounts import keys, model_limits, organisations
from gateway.accounts.change import OPERATOR, changing
from gateway.credit import upkeep
from gateway.db import connect
from gateway.errors import GatewayError
from gateway.money import exact, won_text
from gateway.wire.job import Surface

WINDOW_PATIENCE_S = 5.0
"""Billing applies a new organisation's first outbox row well within this."""

Command = TypeVar("Command", bound=Callable[..., Any])
_json = msgspec.json.Encoder(decimal_format="number")  # exact digits, as a JSON number


class _Open(NamedTuple):
    engine: Engine
    redis: Redis


@contextmanager
def opened() -> Generator[_Open]:
    """The running installation's database and Redis; the errors of accounts as plain lines."""
    found = installation.find()
    engine, redis = connect.engine(found.database_url, pool_size=1), redis_clients.connect(found.redis_url)
    try:
        yield _Open(engine, redis)
    except GatewayError as error:
        raise click.ClickException(error.message) from error
    except RedisError as error:
        raise click.ClickException(f"Redis does not answer: {error}") from error
    finally:
        redis.close()
        engine.dispose()


class _Limit(click.ParamType[Any]):
    """A number, or ``none`` to take the limit away."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        if value == "none":
            return NO_LIMIT
        try:
            return self._read(value)
        except ValueError:
            self.fail(f"{value!r} is neither a {self.name.lower()} nor 'none'", param, ctx)


NO_LIMIT = object()
"""What ``none`` becomes: an option that was not given is None to click."""


def _moment(text: str) -> dt.datetime:
    """An ISO 8601 moment with its offset. Raises ``ValueError``."""
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no offset")
    return moment


WON, NUMBER, MOMENT = _Limit("WON", exact), _Limit("NUMBER", int), _Limit("MOMENT", _moment)
MODELS = _Limit("LIST", lambda text: [name.strip() for name in text.split(",") if name.strip()])
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


MODEL_LIMIT = click.option(
    "--model-limit",
    "model_limits",
    multiple=True,
    type=_Limit("MODEL:rpm=N,tpm=N,concurrency=N", model_limits.parse),
    help="A limit for one model; give it for each. Replaces all that there were; `none` takes all away.",
)


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given; ``none`` as None."""
    by_model: tuple[Any, ...] = options.pop("model_limits", ())
    made = {name: None if v is NO_LIMIT else v for name, v in options.items() if v is not None}
    if by_model:
        made["model_limits"] = dict(each for each in by_model if each is not NO_LIMIT)
    return made


def _org_options(command: Command) -> Command:
    for option in (
        click.option("--month-limit", type=WON, help="Most the organisation may spend in a month of Seoul."),
        click.option("--rpm", type=NUMBER, help="Requests in any 60 seconds."),
        click.option("--concurrency", type=NUMBER, help="Requests at once."),
        click.option("--tpm", type=NUMBER, help="Tokens in any 60 seconds."),
        MODEL_LIMIT,
        click.option("--policy", type=click.Choice(["strict", "optimistic"]), help="How credit is held."),
        click.option("--domestic-only/--no-domestic-only", default=None, help="Only deployments in Korea."),
        click.option("--no-training/--training", default=None, help="Only providers that do not train on prompts."),
        AS_JSON,
    ):
        command = option(command)
    return command


@click.group()
def org() -> None:
    """Organisations: whose keys, whose credit, whose bill."""


@org.command("create")
@click.option("--name", required=True)
@click.option("--billing", type=click.Choice(["prepaid", "postpaid"]), default="prepaid", show_default=True)
@_org_options
def org_create(*, month_limit: Any, as_json: bool, **options: Any) -> None:
    """Make an organisation, and wait until its keys would work."""
    terms = cast("organisations.Terms", _given(month_limit_won=month_limit, **options))
    with opened() as (engine, redis):
        with changing(engine, redis, OPERATOR) as change:
            made = organisations.create(change, terms)
        ready = organisations.wait_for_window(redis, made.id, WINDOW_PATIENCE_S)
    if not ready:
        click.echo("Billing has not opened its credit window yet: its keys work once billing runs.", err=True)
    show(made, as_json=as_json)


@org.command("set")
@click.argument("organisation", metavar="ORG")
@click.option("--name")
@click.option("--billing", type=click.Choice(["prepaid", "postpaid"]))
@click.option("--org-state", type=click.Choice(["active", "suspended", "closed"]))
@_org_options
def org_set(organisation: str, *, month_limit: Any, org_state: str | None, as_json: bool, **options: Any) -> None:
    """Change an organisation (ORG: id or exact name). `none` takes a limit away."""
    terms = cast("organisations.Terms", _given(month_limit_won=month_limit, state=org_state, **options))
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        found = organisations.find(change.connection, organisation)
        changed = organisations.update(change, found.id, terms)
    show(changed, as_json=as_json)


@org.command("show")
@click.argument("organisation", metavar="ORG")
@AS_JSON
def org_show(organisation: str, *, as_json: bool) -> None:
    """Show an organisation and its credit window (ORG: id or exact name)."""
    with opened() as (engine, redis):
        with engine.connect() as connection:
            found = organisations.find(connection, organisation)
        window = upkeep.read(redis, found.id)
    show(found, as_json=as_json, **_window(window))


def _window(window: upkeep.Reading | None) -> dict[str, Any]:
    """What the window says, in won; nothing where it does not know the organisation yet."""
    if window is None:
        return {"balance_won": None, "held_won": None, "running": None}
    balance, held = (Decimal(micro).scaleb(-6) for micro in (window.balance_micro, window.held_micro))
    return {"balance_won": balance, "held_won": held, "running": window.slots}


@org.command("list")
@AS_JSON
def org_list(*, as_json: bool) -> None:
    """List organisations."""
    with opened() as (engine, _), engine.connect() as connection:
        found: list[organisations.Organisation] = []
        while page := organisations.listed(connection, after=found[-1].id if found else None):
            found += page
    show_all(found, ["id", "name", "billing", "policy", "state"], as_json=as_json)


def _key_options(command: Command) -> Command:
    for option in (
        click.option("--limit-krw", type=WON, help="Most that the key may ever spend."),
        click.option("--rpm", type=NUMBER, help="Requests in any 60 seconds."),
        click.option("--concurrency", type=NUMBER, help="Requests at once."),
        click.option("--tpm", type=NUMBER, help="Tokens in any 60 seconds."),
        MODEL_LIMIT,
        click.option("--models", type=MODELS, help="Models it may call, separated by commas."),
        click.option("--expires", type=MOMENT, help="When it stops working: ISO 8601 with offset."),
        AS_JSON,
    ):
        command = option(command)
    return command


@click.group()
def key() -> None:
    """API keys."""


@key.command("create")
@click.option("--org", "organisation", required=True, metavar="ORG", help="Id or exact name.")
@click.option("--name", required=True)
@click.option("--surface", type=click.Choice(["bizrouter", "krouter"]), default="bizrouter", show_default=True)
@_key_options
def key_create(
    organisation: str, name: str, surface: Surface, *, limit_krw: Any, expires: Any, as_json: bool, **options: Any
) -> None:
    """Make a key. It is shown once: only its hash is kept."""
    terms = cast("keys.Terms", _given(name=name, limit_won=limit_krw, expires_at=expires, **options))
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        found = organisations.find(change.connection, organisation)
        made, secret = keys.create(change, found.id, surface, terms)
    show(made, as_json=as_json, key=secret)


@key.command("list")
@click.option("--org", "organisation", required=True, metavar="ORG", help="Id or exact name.")
@click.option("--deleted", is_flag=True, help="Deleted ones too.")
@AS_JSON
def key_list(organisation: str, *, deleted: bool, as_json: bool) -> None:
    """List an organisation's keys."""
    with opened() as (engine, _), engine.connect() as connection:
        found = keys.listed(connection, organisations.find(connection, organisation).id, deleted=deleted)
    show_all(found, ["id", "name", "surface", "hint", "state", "limit_won", "last_used_at"], as_json=as_json)


@key.command("set")
@click.argument("key_id", metavar="KEY")
@click.option("--name")
@click.option("--active/--deactivated", default=None, help="Whether it works.")
@_key_options
def key_set(key_id: str, *, active: bool | None, limit_krw: Any, expires: Any, as_json: bool, **options: Any) -> None:
    """Change a key (KEY: its id). `none` takes a limit away."""
    state = None if active is None else "active" if active else "deactivated"
    terms = cast("keys.Terms", _given(limit_won=limit_krw, expires_at=expires, state=state, **options))
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        changed = keys.update(change, key_id, terms)
    show(changed, as_json=as_json)


@key.command("rotate")
@click.argument("key_id", metavar="KEY")
@click.option("--grace", default=0, show_default=True, help="Seconds for which the old secret still works.")
@AS_JSON
def key_rotate(key_id: str, grace: int, *, as_json: bool) -> None:
    """Give a key a new secret (KEY: its id); limits and spending stay."""
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        changed, secret = keys.rotate(change, key_id, grace)
    show(changed, as_json=as_json, key=secret)


@key.command("revoke")
@click.argument("key_id", metavar="KEY")
@AS_JSON
def key_revoke(key_id: str, *, as_json: bool) -> None:
    """Delete a key for good (KEY: its id). It is refused everywhere at once."""
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        changed = keys.revoke(change, key_id)
    show(changed, as_json=as_json)


def show(thing: msgspec.Struct, *, as_json: bool, **more: Any) -> None:
    """Prints one thing, for people or as JSON."""
    values = msgspec.structs.asdict(thing) | more
    if as_json:
        click.echo(_json.encode(values).decode())
        return
    width = max(map(len, values))
    for name, value in values.items():
        click.echo(f"{name:<{width}}  {_plain(value)}")


def show_all(things: Any, columns: list[str], *, as_json: bool) -> None:
    """Prints a list: those columns for people, everything as JSON."""
    if as_json:
        click.echo(_json.encode(things).decode())
        return
    rows = [columns, *([_plain(getattr(thing, column)) for column in columns] for thing in things)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return _json.encode(value).decode()
    if isinstance(value, list):
        return ",".join(map(str, cast("list[Any]", value)))
    return won_text(value) if isinstance(value, Decimal) else str(value)
