"""The end of a month's usage rows: sums, digests and proofs stay, the partition goes.

What is true of a month that may go is looked at by the database, in the transaction that drops it (migration 0016):
old enough, a final document of every organisation that says what its calls come to, a ledger that agrees. Two people
decide, as they do of a close; with ``usage_retires_by_itself`` the billing process does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError, OperationalError

from billing.invoices.collecting import NotCollectedError, check_month
from gateway.accounts.people import Person
from gateway.accounts.retired import RetiredError
from gateway.db.tables.accounts import audit_log

log = structlog.get_logger(__name__)

_CHECK = text("SELECT check_usage_month_ends(:month)")
_RETIRE = text("SELECT retire_usage_month(:month, CAST(:who AS uuid))")
_ASK = text("""
INSERT INTO usage_retirement AS r (month, asked_by) VALUES (:month, CAST(:who AS uuid))
ON CONFLICT (month) DO UPDATE SET asked_by = excluded.asked_by, asked_at = now()
    WHERE r.retired_at IS NULL AND r.asked_by IS NULL
""")
_DUE = text("""
SELECT substr(c.relname, 7) AS month FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = CAST('usage' AS regclass) AND usage_month_kept_until(substr(c.relname, 7)) <= now() ORDER BY 1
""")


@dataclass(frozen=True, slots=True)
class Retirement:
    """How far a month is: ``asked`` by one person, or ``retired``, then with the number of its calls."""

    month: str
    state: str
    calls: int | None = None


def retire(redis: Any, connection: Connection, month: str, person: Person) -> Retirement:
    """The first person asks, another one confirms, and the month's calls are gone; inside a transaction of the caller's.

    Raises ``RetiredError``: they have to be kept, or something of the month is open; ``NotCollectedError``.
    """
    check_month(redis, connection, month)
    _look(connection, month)
    asked = connection.execute(
        text("SELECT asked_by FROM usage_retirement WHERE month = :month FOR UPDATE"), {"month": month}
    ).scalar_one_or_none()
    if asked is None or str(asked) == person.id:
        connection.execute(_ASK, {"month": month, "who": person.id})
        _note(connection, person.id, "usage.retire_asked", month, {})
        return Retirement(month, "asked")
    return _retire(connection, month, person.id)


def retire_due(engine: Engine, redis: Any) -> list[Retirement]:
    """Retires every month that need not be kept any longer; what still keeps one is logged, and the others go on."""
    with engine.connect() as connection:
        months = list(connection.execute(_DUE).scalars())
    done: list[Retirement] = []
    for month in months:
        try:
            with engine.begin() as connection:
                check_month(redis, connection, month)
                done.append(_retire(connection, month, None))
        except (RetiredError, NotCollectedError) as reason:
            log.warning("usage_month_stays", month=month, reason=str(reason))
    return done


def _look(connection: Connection, month: str) -> None:
    try:
        connection.execute(_CHECK, {"month": month})
    except IntegrityError as error:
        raise RetiredError(_said(error)) from error


def _retire(connection: Connection, month: str, who: str | None) -> Retirement:
    try:
        calls = int(connection.execute(_RETIRE, {"month": month, "who": who}).scalar_one())
    except IntegrityError as error:
        raise RetiredError(_said(error)) from error
    except OperationalError as error:
        raise RetiredError(f"{month} is being read or written at this moment: try again ({_said(error)})") from error
    _note(connection, who or "billing", "usage.retired", month, {"calls": calls})
    log.warning("usage_month_retired", month=month, calls=calls)
    return Retirement(month, "retired", calls)


def _note(connection: Connection, actor: str, action: str, month: str, details: dict[str, Any]) -> None:
    connection.execute(audit_log.insert().values(actor=actor, action=action, subject=month, details=details))


def _said(error: IntegrityError | OperationalError) -> str:
    return str(error.orig).splitlines()[0]
