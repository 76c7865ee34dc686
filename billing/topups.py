"""Asking for a top-up and waiting until it can be spent: what ``wonrouter topup`` does."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from sqlalchemy import Connection, Engine, text

from billing.ledger import Method
from gateway.credit import upkeep

LOOK_S = 0.05


class TopUpError(Exception):
    """The top-up was refused or has not been booked; the text is for the person at the terminal."""


def find_org(connection: Connection, named: str) -> str:
    """An organisation's id, from its id or its name. Raises ``TopUpError`` where that is not exactly one."""
    try:
        wanted = uuid.UUID(named)
    except ValueError:
        wanted = None
    found = list(
        connection.execute(
            text("SELECT id FROM organisation WHERE id = :id OR (CAST(:id AS uuid) IS NULL AND name = :name)"),
            {"id": wanted, "name": named},
        ).scalars()
    )
    if len(found) != 1:
        raise TopUpError(f"{'no' if not found else 'more than one'} organisation is called {named}; give its id")
    return str(found[0])


def request(engine: Engine, org: str, amount_won: int, *, reference: str, method: Method, actor: str) -> uuid.UUID:
    """Asks billing for credit of ``amount_won``, net of VAT. The same reference again is the same request.

    Raises ``TopUpError`` where the reference stands for another amount or method.
    """
    values = {"org": org, "amount": amount_won, "method": method, "reference": reference, "actor": actor}
    with engine.begin() as connection:
        made = connection.execute(
            text(
                "INSERT INTO topup_request (id, org, amount_won, method, reference, requested_by) "
                "VALUES (uuidv7(), :org, :amount, :method, :reference, :actor) "
                "ON CONFLICT (org, reference) DO NOTHING RETURNING id"
            ),
            values,
        ).scalar_one_or_none()
        if made is not None:
            connection.execute(
                text(
                    "INSERT INTO audit_log (actor, org, action, subject, details) "
                    "VALUES (:actor, :org, 'topup.requested', :reference, CAST(:details AS jsonb))"
                ),
                values | {"details": json.dumps({"amount_won": amount_won, "method": method})},
            )
            return made
        known = connection.execute(
            text("SELECT id, amount_won, method FROM topup_request WHERE org = :org AND reference = :reference"), values
        ).one()
    if (known.amount_won, known.method) != (amount_won, method):
        raise TopUpError(f"reference {reference} stands for {known.amount_won} won by {known.method} already")
    return known.id


def wait_until_spendable(engine: Engine, redis: Any, made: uuid.UUID, seconds: float) -> dict[str, Any]:
    """Waits until the request is booked and the credit window knows it. Raises ``TopUpError``."""
    deadline = time.monotonic() + seconds
    while True:
        with engine.connect() as connection:
            row = connection.execute(
                text(
                    "SELECT t.org, t.amount_won, t.method, t.reference, t.state, t.note, t.booked_at, s.seq "
                    "FROM topup_request t LEFT JOIN organisation_seq s ON s.org = t.org WHERE t.id = :id"
                ),
                {"id": made},
            ).one()
        if row.state == "refused":
            raise TopUpError(f"refused: {row.note}")
        if row.state == "booked":
            seen = upkeep.read(redis, str(row.org))
            if seen is not None and seen.seq >= row.seq:
                return {
                    "org": str(row.org),
                    "amount_won": row.amount_won,
                    "method": row.method,
                    "reference": row.reference,
                    "state": row.state,
                    "booked_at": row.booked_at.isoformat(),
                    "balance_micro": seen.balance_micro,
                }
        if time.monotonic() > deadline:
            raise TopUpError(
                f"{'booked, but the credit window has not taken it up' if row.state == 'booked' else 'not booked'} "
                f"after {seconds:.0f} s; it will be as soon as the billing process runs"
            )
        time.sleep(LOOK_S)
