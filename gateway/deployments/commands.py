"""`wonrouter deployments apply FILE | list`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
from redis.exceptions import RedisError

from gateway.db import connect
from gateway.deployments import health, store
from gateway.deployments.change import apply as apply_text
from gateway.deployments.deployment import Deployment
from gateway.deployments.file import MistakesInFile
from gateway.installation import NoInstallationError, find
from gateway.redis import connect as connect_redis

_COLUMNS = ("model", "provider", "upstream_model", "weight", "region", "base_url", "id")


@click.group()
def deployments() -> None:
    """The provider accounts through which models are reached."""


@deployments.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def apply(file: Path, *, as_json: bool) -> None:
    """Makes FILE (TOML, tables [[deployment]]) the whole of what files say; in force within a second.

    Keys are written as env:NAME and read from this command's environment.
    """
    try:
        there = find()
        done = apply_text(there.database_url, there.redis_url, there.secret, file.read_text("utf-8"), os.environ)
    except NoInstallationError as missing:
        raise click.ClickException(str(missing)) from missing
    except (MistakesInFile, ValueError) as mistakes:
        raise click.ClickException(f"{file}: nothing was changed\n{mistakes}") from mistakes
    if as_json:
        click.echo(json.dumps({"applied": [_public(d) for d in done.deployments], "told": done.told}))
        return
    click.echo(f"{len(done.deployments)} deployments are in force from {file}.")
    if not done.told:
        click.echo("Redis could not be reached to tell the running processes; they see the change within 5 s.")


@deployments.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(*, as_json: bool) -> None:
    """Shows every deployment that is stored; keys are never shown."""
    try:
        there = find()
    except NoInstallationError as missing:
        raise click.ClickException(str(missing)) from missing
    engine = connect.engine(there.database_url, pool_size=1)
    try:
        stored = store.listed(engine)
    finally:
        engine.dispose()
    states = _health(there.redis_url, [item.deployment.id for item in stored])
    rows: list[dict[str, Any]] = [
        {**_public(item.deployment), "source": item.source, "health": state}
        for item, state in zip(stored, states, strict=True)
    ]
    if as_json:
        click.echo(json.dumps(rows))
    elif not rows:
        click.echo("No deployments. Add some with `wonrouter deployments apply FILE`.")
    else:
        for row, known in zip(rows, states, strict=True):
            columns = [str(row[name] if row[name] is not None else "-") for name in (*_COLUMNS, "source")]
            click.echo("  ".join([*columns, "unknown" if known is None else str(known["state"])]))


def _health(redis_url: str, deployments: list[str]) -> list[dict[str, Any] | None]:
    """How each is doing as the workers know it; None where Redis is away."""
    client = connect_redis(redis_url)
    try:
        found = health.read(client, deployments)
    except RedisError:
        return [None] * len(deployments)
    finally:
        client.close()
    return [{"state": h.state, "error_rate": round(h.error_rate, 4), "first_token_ms": h.first_token_ms} for h in found]


def _public(deployment: Deployment) -> dict[str, object]:
    return {
        "id": deployment.id,
        "model": deployment.model,
        "provider": deployment.provider,
        "base_url": deployment.base_url,
        "upstream_model": deployment.upstream_model,
        "weight": deployment.weight,
        "region": deployment.region,
        "domestic": deployment.domestic,
        "no_training": deployment.no_training,
        "options": {name: value for name, value in deployment.options.items() if not name.startswith("header.")},
    }
