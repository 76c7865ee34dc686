"""Who works on a task: a claim is a lease with a number, and only the newest number may say how the task ended.

A process that dies leaves its claim to lapse, and another takes the task up again. What a task changes is written in the
transaction that also ends it, or can be done twice without a difference; so its effect is there once.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, text

from gateway import tasks
from gateway.db.tables.tasks import task, task_part, task_upload

TRIES = 4
"""How often a task is taken up: one that takes its process down with it must not take down all of them for ever."""
KEPT_DAYS = 7
"""A finished file can be fetched for a week; then it is made again."""
REMEMBERED_DAYS = 400
"""The line about a task stays for a year and a month."""


class LostClaimError(Exception):
    """Somebody else has taken the task up: whatever this process did for it is rolled back."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A task taken up. ``attempt`` rises with every claim."""

    id: uuid.UUID
    attempt: int
    kind: str
    parameters: dict[str, Any]
    org: str | None
    person: str


@dataclass(frozen=True, slots=True)
class File:
    """What came of a task: a file on our disk, to be stored in pieces."""

    name: str
    media_type: str
    content: IO[bytes]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended. ``note`` runs in the transaction that ends it, ``after`` once that is committed."""

    result: dict[str, Any] = field(default_factory=dict[str, Any])
    file: File | None = None
    note: Callable[[Connection], None] | None = None
    after: Callable[[], None] | None = None


_CLAIM = text("""
UPDATE task SET state = 'running', attempt = attempt + 1, started_at = coalesce(started_at, now()), progress = 0,
    total = NULL, leased_until = now() + :lease * interval '1 second'
WHERE id = (
    SELECT id FROM task WHERE finished_at IS NULL AND kind = ANY(:kinds)
    AND (state = 'waiting' OR leased_until < now()) AND attempt < :tries
    ORDER BY asked_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, attempt, kind, parameters, org, asked_by
""")
_GIVE_UP = text("""
UPDATE task SET state = 'failed', error_code = 'internal_error', finished_at = now(),
    error = 'It was tried ' || attempt || ' times and its process ended each time.'
WHERE state = 'running' AND leased_until < now() AND attempt >= :tries
""")
_RENEW = text("""
UPDATE task SET leased_until = now() + :lease * interval '1 second', progress = :progress, total = :total
WHERE id = :id AND attempt = :attempt AND state = 'running'
""")
_END = text("""
UPDATE task SET state = :state, error_code = :code, error = :error, result = CAST(:result AS jsonb),
    progress = coalesce(total, progress), finished_at = now(), leased_until = NULL
WHERE id = :id AND attempt = :attempt AND state = 'running'
""")


def claim(connection: Connection, kinds: Sequence[str], lease_s: float) -> Claim | None:
    """Takes up the oldest task of these kinds that nobody works on; None where there is none."""
    connection.execute(_GIVE_UP, {"tries": TRIES})
    row = connection.execute(_CLAIM, {"kinds": list(kinds), "lease": lease_s, "tries": TRIES}).one_or_none()
    if row is None:
        return None
    return Claim(row.id, row.attempt, row.kind, row.parameters, row.org and str(row.org), str(row.asked_by))


def renew(connection: Connection, mine: Claim, lease_s: float, progress: int, total: int | None) -> bool:
    """Keeps the claim and says how far it is. False where it is lost."""
    values = {"id": mine.id, "attempt": mine.attempt, "lease": lease_s, "progress": progress, "total": total}
    return bool(connection.execute(_RENEW, values).rowcount)


def finish(connection: Connection, mine: Claim, outcome: Outcome) -> None:
    """Ends the task well, with its file, in the caller's transaction. Raises ``LostClaimError``."""
    _end(connection, mine, "done", result=msgspec.json.encode(outcome.result).decode())
    if outcome.note is not None:
        outcome.note(connection)
    if outcome.file is not None:
        _store(connection, mine, outcome.file)


def fail(connection: Connection, mine: Claim, code: str, reason: str) -> None:
    """Ends the task with the reason, for people. Raises ``LostClaimError``."""
    _end(connection, mine, "failed", code=code, error=reason[:2_000])


def release(connection: Connection, mine: Claim) -> None:
    """Gives the task back, for another try."""
    free = task.update().where(task.c.id == mine.id, task.c.attempt == mine.attempt, task.c.state == "running")
    connection.execute(free.values(state="waiting", leased_until=None))


def upload(connection: Connection, mine: Claim) -> bytes | None:
    """The file that came with the task."""
    query = sa.select(task_upload.c.bytes).where(task_upload.c.task == mine.id).order_by(task_upload.c.seq)
    pieces = connection.execute(query).scalars().all()
    return b"".join(pieces) if pieces else None


def tidy(connection: Connection) -> int:
    """Deletes files whose time is over, uploads that have been read, and what is long past. Returns how many files."""
    over = sa.select(task.c.id).where(task.c.expires_at < sa.func.now())
    gone = set(
        connection.execute(task_part.delete().where(task_part.c.task.in_(over)).returning(task_part.c.task)).scalars()
    )
    ended = sa.select(task.c.id).where(task.c.finished_at.is_not(None))
    connection.execute(task_upload.delete().where(task_upload.c.task.in_(ended)))
    connection.execute(
        text("DELETE FROM task WHERE finished_at < now() - :days * interval '1 day'"), {"days": REMEMBERED_DAYS}
    )
    return len(gone)


def _end(
    connection: Connection, mine: Claim, state: str, *, code: str | None = None, error: str | None = None,
    result: str | None = None,
) -> None:  # fmt: skip
    values = {"id": mine.id, "attempt": mine.attempt, "state": state, "code": code, "error": error, "result": result}
    if not connection.execute(_END, values).rowcount:
        raise LostClaimError


def _store(connection: Connection, mine: Claim, file: File) -> None:
    import hashlib

    digest, size = hashlib.sha256(), 0
    file.content.seek(0)
    for seq, piece in enumerate(tasks.cut(iter(lambda: file.content.read(tasks.PIECE), b""))):
        digest.update(piece)
        size += len(piece)
        connection.execute(task_part.insert(), {"task": mine.id, "seq": seq, "bytes": piece})
    values = {"file_name": file.name, "media_type": file.media_type, "size": size, "sha256": digest.hexdigest()}
    expires = text(f"now() + interval '{KEPT_DAYS} days'")
    connection.execute(task.update().where(task.c.id == mine.id).values(values | {"expires_at": expires}))
