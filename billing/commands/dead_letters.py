"""``wonrouter dead``: usage events that could not be booked."""

from __future__ import annotations

import click

from billing.commands.opened import AS_JSON, opened, show, show_all
from gateway.accounts.change import OPERATOR


@click.group()
def dead() -> None:
    """Usage events that could not be booked and wait for a person."""


@dead.command("list")
@AS_JSON
def dead_list(*, as_json: bool) -> None:
    """List them with the reason."""
    from billing import dead as letters

    with opened() as (_, redis):
        show_all(letters.listed(redis), ["entry", "died_at", "org", "job", "micro", "why"], as_json=as_json)


@dead.command("replay")
@click.argument("entry", required=False)
@click.option("--all", "every", is_flag=True, help="All of them.")
@AS_JSON
def dead_replay(entry: str | None, *, every: bool, as_json: bool) -> None:
    """Try to book ENTRY (or --all) again, once the cause is mended."""
    from billing import dead as letters
    from billing.lock import SettlerLock

    if (entry is None) != every:
        raise click.UsageError("name one ENTRY, or say --all")
    with opened() as (engine, redis):
        lock = SettlerLock(engine)
        try:
            show({"replayed": letters.replay(redis, lock, entry)}, as_json=as_json)
        finally:
            lock.close()


@dead.command("discard")
@click.argument("entry")
@click.option("--reason", required=True, help="Why it is not to be booked; it stays in the books.")
@AS_JSON
def dead_discard(entry: str, reason: str, *, as_json: bool) -> None:
    """Never book ENTRY: it is kept with the reason, and what it took from the credit window is given back."""
    from billing import dead as letters
    from billing.lock import SettlerLock

    with opened() as (engine, redis):
        lock = SettlerLock(engine)
        try:
            show(letters.discard(redis, lock, entry, reason, OPERATOR), as_json=as_json)
        finally:
            lock.close()


commands = [dead]
