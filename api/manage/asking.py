"""What the front end asks of billing: tasks are left, looked at, waited for a moment, and their files handed out."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
import uuid
from collections.abc import AsyncGenerator
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from litestar import Request, delete, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream
from sqlalchemy import Connection

from api.manage.desk import Desk
from api.manage.door import Caller, asked
from api.manage.pages import After, Limit, Page, id_place, paged
from gateway import task_kinds, tasks
from gateway.accounts import access, roles
from gateway.accounts.access import Looker
from gateway.accounts.change import Change
from gateway.errors import NotFound, PermissionDenied
from gateway.tasks import State, Task

LONGEST_WAIT_S = 25
"""Within what proxies allow; who wants to know later looks at the task."""
LOOK_S = 0.1
TASK_ANSWER = 202

Wait = Annotated[
    int, QueryParameter(ge=0, le=LONGEST_WAIT_S, description="Seconds to wait for the end before answering.")
]
InState = Annotated[State | None, QueryParameter(name="state", description="Only those in this state.")]


async def ask(
    desk: Desk,
    caller: Caller,
    kind: str,
    parameters: dict[str, Any],
    *,
    organisation: str | None = None,
    upload: bytes | None = None,
    wait_s: float = 0,
) -> Task:
    """Leaves a task as whoever is signed in, and waits up to ``wait_s`` for its end.

    ``organisation`` None is the whole installation, which only the operator may ask for; another one than the caller's
    as well. Raises ``PermissionDenied``, and what ``gateway.tasks.ask`` raises.
    """
    if caller.person is None:
        raise PermissionDenied("This takes a person: sign in, or use a key that a person made.")
    person, own = caller.person, task_kinds.rule(kind).own
    theirs = organisation is not None and organisation == caller.org and own is not None
    roles.require(caller.roles, own if theirs and own else task_kinds.FOR_THE_INSTALLATION)
    made = await desk.change(
        caller.actor, lambda change: tasks.ask(change, person, kind, parameters, organisation, upload)
    )
    return await ended(desk, made, wait_s)


async def ended(desk: Desk, task: Task, wait_s: float) -> Task:
    """The task as it is once it has ended, or after ``wait_s``."""
    deadline = time.monotonic() + wait_s
    found = task
    while not found.finished and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_S)
        found = await desk.read(lambda connection: tasks.show(connection, task.id))
    return found


def reach(caller: Caller) -> str | None:
    """Whose tasks and documents a caller sees: their organisation's; None = everybody's, for the operator."""
    return None if roles.scope_of(caller.roles, task_kinds.FOR_THE_INSTALLATION) else caller.org


def reachable(connection: Connection, caller: Caller, task_id: str) -> Task:
    """A task of the caller's, or of their organisation's own kinds. Raises ``NotFound``."""
    org = reach(caller)
    found = tasks.show(connection, task_id, org)
    if org is not None and found.kind not in task_kinds.OWN:
        raise NotFound(f"no task {task_id}")
    return found


def task_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/tasks", action="export.read", tags=["tasks"])
    async def list_tasks(
        request: Request[Any, Any, Any],
        limit: Limit = 50,
        after: After = None,
        kind: FromQuery[list[str] | None] = None,
        in_state: InState = None,
    ) -> Page[Task]:
        org, start = reach(asked(request).caller), id_place(after)
        kinds = list(kind or ()) if org is None else [one for one in task_kinds.OWN if not kind or one in kind]

        def work(connection: Connection) -> Any:
            return tasks.page(connection, org, kinds=kinds, state=in_state, before=start, most=limit + 1)

        return paged(await desk.read(work), limit, lambda task: task.id)

    @get("/tasks/{task_id:str}", action="export.read", tags=["tasks"])
    async def show_task(request: Request[Any, Any, Any], task_id: FromPath[str], wait: Wait = 0) -> Task:
        caller = asked(request).caller
        return await ended(desk, await desk.read(lambda connection: reachable(connection, caller, task_id)), wait)

    @delete("/tasks/{task_id:str}", action="export.write", tags=["tasks"], status_code=200)
    async def cancel_task(request: Request[Any, Any, Any], task_id: FromPath[str]) -> Task:
        caller = asked(request).caller

        def work(change: Change) -> Task:
            return tasks.cancel(change, reachable(change.connection, caller, task_id).id)

        return await desk.change(caller.actor, work)

    @get("/tasks/{task_id:str}/file", action="export.read", tags=["tasks"])
    async def download_file(request: Request[Any, Any, Any], task_id: FromPath[str]) -> Stream:
        return await download(desk, asked(request).caller, task_id)

    return [list_tasks, show_task, cancel_task, download_file]


async def download(desk: Desk, caller: Caller, task_id: str) -> Stream:
    """The file of a task, piece by piece; who fetched it is written down first. Raises ``NotFound``."""

    def begin(change: Change) -> Task:
        found = reachable(change.connection, caller, task_id)
        over = found.expires_at is None or found.expires_at <= dt.datetime.now(dt.UTC)
        if found.file_name is None or over or tasks.part(change.connection, task_id, 0) is None:
            raise NotFound("There is no file of that task (any more).")
        taken(change.connection, found, caller.actor, caller.address)
        if found.org is None:
            change.audit("export.download", found.id, None, kind=found.kind, address=caller.address)
        return found

    found = await desk.change(caller.actor, begin)
    return Stream(
        _pieces(desk, found.id), media_type=found.media_type, headers=_headers(found.file_name or "", found.size)
    )  # fmt: skip


def taken(connection: Connection, found: Task, actor: str, address: str) -> None:
    """Who fetches a task's file, in the access log of the organisation it is about; of all organisations', in each one's."""
    month = found.parameters.get("month")
    if found.org is not None:
        rows = int((found.result or {}).get("rows", 0))
        access.note(connection, Looker(found.org, actor, address), "export.download", rows, reason=found.kind)
    elif month is not None:
        access.note_month(connection, None, actor, address, "export.download", month, found.kind)


async def _pieces(desk: Desk, task_id: str) -> AsyncGenerator[bytes]:
    seq = 0
    while (piece := await desk.read(lambda connection: tasks.part(connection, task_id, seq))) is not None:  # noqa: B023
        yield piece
        seq += 1


def _headers(name: str, size: int | None) -> dict[str, str]:
    plain = "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\' else "_" for letter in name
    )
    told = {
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    return told if size is None else told | {"content-length": str(size)}


def whole(named: str | None) -> str | None:
    """An organisation's id as a body names it. Raises ``NotFound`` for what is none."""
    try:
        return None if named is None else str(uuid.UUID(named))
    except ValueError:
        raise NotFound(f"no organization {named}") from None


def plain(parameters: msgspec.Struct, *but: str) -> dict[str, Any]:
    """The fields of a body as JSON keeps them, without those that are no parameters; null is left out."""
    built: dict[str, Any] = msgspec.to_builtins(parameters)
    return {name: value for name, value in built.items() if name not in but and value is not None}
