"""Usage events that could not be booked: looking at them, trying again, or deciding not to book them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from billing.lock import SettlerLock
from gateway.accounts import outbox
from gateway.db.tables.accounts import audit_log
from gateway.finance.checks import dead_letter
from gateway.wire import ids, keys

PAGE = 500


class DeadLetterError(ValueError):
    """It cannot be done; the text is for the person who asked."""


def listed(redis: Any) -> Iterator[dict[str, Any]]:
    """What waits in ``wr:dead``, oldest first, with the reason."""
    for entry, fields in _entries(redis):
        yield _shown(entry, fields)


def replay(redis: Any, lock: SettlerLock, entry: str | None) -> int:
    """Puts one entry, or all, back into the stream: for when the cause is mended. Returns how many.

    What still cannot be booked comes back with its reason; what was booked meanwhile is not booked twice.
    """
    with lock.turn(wait=True) as connection:
        assert connection is not None
        found = [(at, fields) for at, fields in _entries(redis) if entry in (None, at)]
        if entry is not None and not found:
            raise DeadLetterError(f"there is no dead entry {entry}")
        for at, fields in found:
            again = {name: value for name, value in fields.items() if name != b"why"}
            pipe = redis.pipeline(transaction=True)
            pipe.execute_command("XADD", keys.USAGE, "*", *chain(*again.items()))
            pipe.execute_command("XDEL", keys.DEAD, at)
            pipe.execute()
    return len(found)


def discard(redis: Any, lock: SettlerLock, entry: str, reason: str, actor: str) -> dict[str, Any]:
    """Decides that an entry is never booked: kept whole in the books with the reason, and given back to the window.

    Raises ``DeadLetterError``. Killed between the two stores, the same again finishes it and gives nothing back twice.
    """
    if not reason.strip():
        raise DeadLetterError("say why")
    with lock.turn(wait=True) as connection:
        assert connection is not None
        found = [(at, fields) for at, fields in _entries(redis) if at == entry]
        if not found:
            raise DeadLetterError(f"there is no dead entry {entry}")
        shown = _shown(*found[0])
        with connection.begin():
            _keep(connection, found[0][1], shown, reason.strip(), actor)
        redis.execute_command("XDEL", keys.DEAD, entry)
    return shown


def _keep(
    connection: Connection, fields: Mapping[bytes, bytes], shown: dict[str, Any], reason: str, actor: str
) -> None:
    raw = {name.decode(errors="replace"): value.hex() for name, value in fields.items()}
    kept = connection.execute(
        text(
            "INSERT INTO discarded_usage (entry, org, job, micro, why, reason, fields) "
            "VALUES (:entry, :org, :job, :micro, :why, :reason, CAST(:fields AS jsonb)) ON CONFLICT DO NOTHING"
        ),
        {name: shown[name] for name in ("entry", "org", "job", "micro", "why")}
        | {"reason": reason, "fields": json.dumps(raw)},
    )
    if not kept.rowcount:
        return
    details = {"job": shown["job"], "reason": reason}
    connection.execute(
        audit_log.insert().values(actor=actor, action="dead.discard", subject=shown["entry"], details=details)
    )
    org, micro = _uuid(shown["org"]), shown["micro"]
    known = org and connection.execute(text("SELECT 1 FROM organisation WHERE id = :org"), {"org": org}).scalar()
    if known and micro and fields.get(b"hold") == b"1":
        outbox.append(
            connection, str(org), balance_micro=micro, key=_uuid(shown["key"]), key_spent_micro=-micro,
            month=ids.month_of(ids.milliseconds(shown["job"])), month_spent_micro=-micro,
        )  # fmt: skip


def _entries(redis: Any) -> Iterator[tuple[str, dict[bytes, bytes]]]:
    start = "-"
    while page := redis.execute_command("XRANGE", keys.DEAD, start, "+", "COUNT", PAGE):
        for entry, fields in page:
            yield entry.decode(), fields
        start = "(" + page[-1][0].decode()


def _shown(entry: str, fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    letter = msgspec.structs.asdict(dead_letter(entry.encode(), fields))
    return letter | {"died_at": letter["died_at"].isoformat()}


def _uuid(written: str) -> str | None:
    try:
        return str(uuid.UUID(written))
    except ValueError:
        return None
