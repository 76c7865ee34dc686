"""``wonrouter statement``: what providers charge us against what we counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from billing.commands.opened import AS_JSON, opened, show, show_all
from billing.commands.rates import Usd
from gateway.accounts.change import OPERATOR


@click.group()
def statement() -> None:
    """Provider statements."""


@statement.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--provider", required=True, help="As deployments name it, e.g. openai.")
@click.option("--zone", default="UTC", show_default=True, help="The time zone of the statement's days.")
@click.option("--paid-rate", type=Usd(), help="Won per USD at which it was paid: gives the exchange difference.")
@AS_JSON
def statement_import(file: Path, provider: str, zone: str, paid_rate: Any, *, as_json: bool) -> None:
    """Match a CSV (day, model, prompt_tokens, completion_tokens, usd) with the books; differences with their reason."""
    from billing import statements

    with opened() as (engine, _), engine.begin() as connection:
        raw = file.read_bytes()
        result = statements.match(connection, provider, statements.read_csv(raw), zone=zone, paid_rate=paid_rate)
        new = statements.keep(connection, raw, result, OPERATOR)
    shown = result.shown() | {"new": new}
    if as_json:
        click.echo(json.dumps(shown, ensure_ascii=False))
        return
    show(statements.summary(shown), as_json=False)
    show_all(result.shown()["differences"], ["day", "model", "reason", "tokens", "usd"], as_json=False)


commands = [statement]
