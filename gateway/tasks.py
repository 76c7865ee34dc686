"""Tasks for the billing process: asked for by the front end, done by billing, looked at until they are finished.

The front end may write neither ledger nor invoices, and a month's export takes longer than a request. So it leaves a
row, billing is woken by news once that is committed, does it as the person who asked, and says in the same transaction
how it ended. ``gateway.task_kinds`` lists what can be asked; ``billing.tasks`` does it.

::

    waiting -> running -> done | failed        waiting -> failed (cancelled)

A file that came of it lies in pieces of about a megabyte until ``expires_at``.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from gateway import task_kinds
from gateway.accounts.change import Change
from gateway.db.tables.accounts import person as people_table
from gateway.db.tables.tasks import task, task_part, task_upload
from gateway.errors import Conflict, InvalidRequest, NotFound

PIECE = 1_000_000
"""Bytes of a piece: large enough to be few, small enough for a front end to hold many at once."""
LARGEST_UPLOAD = 20_000_000
MOST_OPEN = 20
"""Unfinished tasks of one person: a button pressed over and over must not keep everybody else waiting."""

State = Literal["waiting", "running", "done", "failed"]


class Task(msgspec.Struct, frozen=True):
    """A task as people see it. ``progress`` of ``total`` are steps of its kind; ``error`` is for people."""

    id: str
    org: str | None
    kind: str
    parameters: dict[str, Any]
    asked_by: str
    asked_by_name: str
    state: State
    progress: int
    total: int | None
    error_code: str | None
    error: str | None
    result: dict[str, Any] | None
    file_name: str | None
    media_type: str | None
    size: int | None
    sha256: str | None
    asked_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    expires_at: dt.datetime | None

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.finished_at is not None


def ask(
    change: Change,
    person: str,
    kind: str,
    parameters: dict[str, Any] | None = None,
    org: str | None = None,
    upload: bytes | None = None,
) -> Task:
    """Leaves a task for billing, which hears of it when the change is committed.

    Whether ``person`` may ask is for the caller to check (``task_kinds.rule``); billing checks it again. Raises
    ``NotFound``, ``InvalidRequest``, or ``Conflict`` where the person has too much waiting already.
    """
    rule = task_kinds.rule(kind)
    given = parameters or {}
    task_kinds.read(kind, given)
    if org is None and not rule.of_all:
        raise InvalidRequest("This is for one organization at a time.", param="organization")
    _check_upload(rule, upload)
    waiting = sa.select(sa.func.count()).where(task.c.asked_by == uuid.UUID(person), task.c.finished_at.is_(None))
    if change.connection.execute(waiting).scalar_one() >= MOST_OPEN:
        raise Conflict(f"{MOST_OPEN} of your tasks are not finished yet.")
    made = uuid.UUID(str(change.connection.execute(sa.text("SELECT uuidv7()")).scalar_one()))
    values = {"id": made, "org": org and uuid.UUID(org), "kind": kind, "parameters": given}
    change.connection.execute(task.insert().values(values | {"asked_by": uuid.UUID(person)}))
    pieces = [] if upload is None else list(cut([upload]))
    if pieces:
        rows = [{"task": made, "seq": seq, "bytes": piece} for seq, piece in enumerate(pieces)]
        change.connection.execute(task_upload.insert(), rows)
    change.tell("task", made)
    return show(change.connection, str(made))


def show(connection: Connection, task_id: str, org: str | None = None) -> Task:
    """The task; with ``org`` only if it is that organisation's. Raises ``NotFound``."""
    query = _query().where(task.c.id == _id(task_id))
    if org is not None:
        query = query.where(task.c.org == uuid.UUID(org))
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"no task {task_id}")
    return _view(row)


def page(
    connection: Connection,
    org: str | None = None,
    *,
    kinds: Sequence[str] = (),
    state: State | None = None,
    before: str | None = None,
    most: int = 50,
) -> Sequence[Task]:
    """Tasks, newest first, those older than ``before``: an organisation's, or of the whole installation."""
    query = _query().order_by(task.c.id.desc()).limit(most)
    if org is not None:
        query = query.where(task.c.org == uuid.UUID(org))
    if kinds:
        query = query.where(task.c.kind.in_(kinds))
    if state is not None:
        query = query.where(task.c.state == state)
    if before is not None:
        query = query.where(task.c.id < _id(before))
    return [_view(row) for row in connection.execute(query).mappings()]


def cancel(change: Change, task_id: str, org: str | None = None) -> Task:
    """Takes back a task that nobody has begun. Raises ``NotFound``, ``Conflict``."""
    found = show(change.connection, task_id, org)
    told = {"state": "failed", "error_code": "cancelled", "error": "Cancelled.", "finished_at": sa.func.now()}
    statement = task.update().where(task.c.id == uuid.UUID(found.id), task.c.state == "waiting").values(told)
    if not change.connection.execute(statement).rowcount:
        raise Conflict(f"The task is {found.state}: only a waiting one can be cancelled.")
    change.audit("task.cancel", found.id, uuid.UUID(found.org) if found.org else None, kind=found.kind)
    return show(change.connection, task_id)


def part(connection: Connection, task_id: str, seq: int) -> bytes | None:
    """One piece of the file; None after the last, or once it has been deleted."""
    query = sa.select(task_part.c.bytes).where(task_part.c.task == _id(task_id), task_part.c.seq == seq)
    return connection.execute(query).scalar_one_or_none()


def parts(connection: Connection, task_id: str) -> Iterator[bytes]:
    """The file, piece by piece."""
    seq = 0
    while (piece := part(connection, task_id, seq)) is not None:
        yield piece
        seq += 1


def cut(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Bytes as they come, in pieces of ``PIECE`` bytes and a last one."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= PIECE:
            yield bytes(held[:PIECE])
            del held[:PIECE]
    if held:
        yield bytes(held)


def _check_upload(rule: task_kinds.Rule, upload: bytes | None) -> None:
    if upload is None and rule.upload == "needed":
        raise InvalidRequest("A file has to come with this.", param="file")
    if upload is not None and rule.upload == "none":
        raise InvalidRequest("No file comes with this.", param="file")
    if upload is not None and not 0 < len(upload) <= LARGEST_UPLOAD:
        raise InvalidRequest(f"A file has 1 to {LARGEST_UPLOAD} bytes.", param="file")


_SHOWN = [name for name in Task.__struct_fields__ if name != "asked_by_name"]


def _query() -> sa.Select[Any]:
    columns = [task.c[name] for name in _SHOWN]
    return sa.select(*columns, people_table.c.name.label("asked_by_name")).join(
        people_table, people_table.c.id == task.c.asked_by
    )


def _view(row: RowMapping) -> Task:
    values = {name: row[name] for name in Task.__struct_fields__}
    for name in ("id", "org", "asked_by"):
        values[name] = values[name] and str(values[name])
    return Task(**values)


def _id(written: str) -> uuid.UUID:
    try:
        return uuid.UUID(written)
    except ValueError:
        raise NotFound(f"no task {written}") from None
