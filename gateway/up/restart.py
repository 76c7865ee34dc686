"""`wonrouter restart`: asks the running `wonrouter up` to replace its processes, and waits until it has."""

from __future__ import annotations

import os
import secrets
import signal
import time
from pathlib import Path

import click

from gateway.installation import DEFAULT_STATE, STATE_VARIABLE
from gateway.up.state import ROLES, Restart, State

LOOK_S = 0.1
PATIENCE_S = 120.0
"""For each process: it starts within a minute, and the one before it drains within half of one."""


@click.command()
@click.argument("what", type=click.Choice([*ROLES, "all"]), default="all")
def restart(what: str) -> None:
    """Replace the processes of a running `wonrouter up`, one after another, without failing a request.

    Each new process is ready before the old one is asked to finish what it has begun and end. PostgreSQL and Redis
    stay as they are. New code is used by processes that start after it was installed; see docs/upgrades.md.
    """
    state = State(Path(os.environ.get(STATE_VARIABLE) or DEFAULT_STATE))
    up = state.published()
    if not up:
        raise click.ClickException(f"no running installation in {state.folder}")
    roles = ROLES if what == "all" else (what,)
    wish = Restart(secrets.token_hex(8), tuple(roles))
    state.ask_to_restart(wish)
    try:
        os.kill(int(up["pid"]), signal.SIGUSR1)
    except ProcessLookupError as error:
        raise click.ClickException(f"the `wonrouter up` of {state.folder} is gone") from error
    processes = sum(len(up["pids_all"].get(role, ())) for role in roles)
    _await(state, wish, PATIENCE_S * max(1, processes))
    click.echo(f"restarted: {', '.join(roles)}")


def _await(state: State, wish: Restart, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        up = state.published()
        if not up:
            raise click.ClickException("the installation has stopped meanwhile")
        told: dict[str, str] = up.get("restart") or {}
        if told.get("id") == wish.id and told.get("state") == "done":
            return
        if told.get("id") == wish.id and told.get("state") == "failed":
            raise click.ClickException(told["reason"])
        time.sleep(LOOK_S)
    raise click.ClickException(f"not restarted within {seconds:.0f} s; see {state.logs}")
