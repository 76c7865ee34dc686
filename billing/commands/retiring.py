"""``wonrouter usage retire``: two people let go of the calls of a month of long ago."""

from __future__ import annotations

import dataclasses

import click

from billing.commands.closing import Month
from billing.commands.opened import AS_JSON, acting, opened, show, signed_in


@click.command("retire")
@click.argument("month", type=Month())
@acting
@AS_JSON
def usage_retire(month: str, email: str, password: str, *, as_json: bool) -> None:
    """Delete the calls of MONTH once they need not be kept; sums, digests and proofs stay.

    The first person asks, nothing is deleted; a second one says the same and it is done, for good. Refused while the
    law asks for them, or while a document of the month is missing or says something else.
    """
    from billing.retiring import retire

    with opened() as (engine, redis), engine.begin() as connection:
        person = signed_in(connection, email, password)
        done = retire(redis, connection, month, person)
    show(dataclasses.asdict(done), as_json=as_json)
