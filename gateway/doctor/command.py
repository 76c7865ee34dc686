"""``wonrouter doctor`` as people type it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from gateway.doctor.finding import Check, Finding, fail, ok, run

WELL, SOON, BROKEN = 0, 1, 2
"""Exit codes."""


@click.command()
@click.option("--probe", is_flag=True, help="Also see whether every deployment's address answers; no key is sent.")
@click.option("--strict", is_flag=True, help="Exit code 1 where something warns.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(*, probe: bool, strict: bool, as_json: bool) -> None:
    """Look at the installation and say what is not as it should be. Exit code 2: something is broken."""
    findings = list(_findings(probe))
    levels = {finding.level for finding in findings}
    code = BROKEN if "fail" in levels else SOON if strict and "warn" in levels else WELL
    if as_json:
        click.echo(msgspec.json.encode({"well": levels <= {"ok"}, "findings": findings}).decode())
    else:
        for finding in findings:
            click.echo(f"{finding.level:5} {finding.check:20} {finding.text}")
            if finding.advice:
                click.echo(f"{'':26} -> {finding.advice}")
    sys.exit(code)


def _findings(probe: bool) -> Iterator[Finding]:
    # PostgreSQL's and Redis's clients are imported where they are needed: `--help` answers at once
    from pydantic import ValidationError

    import gateway.redis
    from gateway import installation
    from gateway.db import connect
    from gateway.deployments import store
    from gateway.doctor import database, line, machine
    from gateway.settings import in_words

    found = installation.find()
    if not os.environ.get("DATABASE_URL"):
        os.environ.setdefault("WONROUTER_SANDBOX", "1")  # as `wonrouter up` starts its processes
    try:
        settings = found.settings()
    except ValidationError as error:
        yield fail("settings", in_words(error), "mend these variables; gateway/settings.py explains each")
        return
    yield ok("settings", "complete")
    state = Path(os.environ.get(installation.STATE_VARIABLE) or installation.DEFAULT_STATE)
    engine = connect.engine(found.database_url, pool_size=1)
    redis = gateway.redis.connect(found.redis_url)
    checks: list[tuple[str, Check]] = [
        ("database", lambda: database.schema(engine)),
        ("roles", lambda: database.roles(engine)),
        ("redis", lambda: line.server(redis)),
        ("clocks", lambda: line.clocks(redis, engine)),
        ("window", lambda: line.window(redis, engine)),
        ("processes", lambda: line.processes(redis)),
        ("queues", lambda: line.queues(redis, settings)),
        ("money", lambda: database.money(engine, settings)),
        ("deployments", lambda: database.deployments(engine, settings)),
        ("disk", lambda: machine.disk(state)),
        ("files", lambda: machine.files(state)),
    ]
    if probe:
        checks.append(
            (
                "providers",
                lambda: machine.reachable((d.deployment.provider, d.deployment.base_url) for d in store.listed(engine)),
            )
        )
    try:
        yield from run(checks)
    finally:
        redis.close()
        engine.dispose()
