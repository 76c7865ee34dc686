"""What was asked of billing: how far it is, what came of it, and the file to download."""

from __future__ import annotations

import functools
import itertools
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Redirect, Stream
from sqlalchemy import Connection

from api.console import BASE, wording
from api.console.rendering import HEADERS, go, page
from api.console.visit import Visit, visit_of
from api.manage.asking import taken
from api.manage.desk import Desk
from gateway import task_kinds, tasks
from gateway.accounts import roles
from gateway.errors import NotFound
from gateway.tasks import Task

SECTIONS = ("finance", "operator")


def task_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers. Whoever runs the installation sees every task; others see the files of their organisation."""

    async def find(visit: Visit, task_id: str) -> Task:
        found = await desk.read(lambda connection: tasks.show(connection, task_id))
        if not visible(visit, found):
            raise NotFound(param="task")
        return found

    @get("/tasks/{task_id:str}", action="session.self")
    async def task_page(request: Request[Any, Any, Any], task_id: FromPath[str]) -> Response[bytes]:
        visit = visit_of(request)
        found = await find(visit, task_id)
        back = visit.query.get("back", "")
        return page(
            request,
            "task.html",
            settings=desk.settings,
            task=found,
            state=_state(found),
            said=_why(visit, found),
            back=back if back.startswith(f"{BASE}/") and "//" not in back and "\\" not in back else BASE,
            section="operator" if back.startswith(f"{BASE}/operator") else "finance",
        )

    @get("/tasks/{task_id:str}/state", action="session.self", quiet=True)
    async def task_state(request: Request[Any, Any, Any], task_id: FromPath[str]) -> Response[dict[str, str]]:
        found = await find(visit_of(request), task_id)
        return Response({"state": _state(found)}, headers={"cache-control": "no-store"})

    @get("/tasks/{task_id:str}/file", action="session.self")
    async def task_file(request: Request[Any, Any, Any], task_id: FromPath[str]) -> Stream:
        visit = visit_of(request)
        found = await find(visit, task_id)
        first = await desk.read(lambda connection: _first(connection, visit, found))
        if first is None:
            raise NotFound(param="file")

        async def pieces() -> AsyncIterator[bytes]:
            piece: bytes | None = first
            for seq in itertools.count(1):
                if piece is None:
                    return
                yield piece
                piece = await desk.read(functools.partial(tasks.part, task_id=found.id, seq=seq))

        headers = {
            "content-disposition": f'attachment; filename="{found.file_name}"', "content-length": str(found.size),
            "cache-control": "no-store", "x-content-type-options": "nosniff",
            "content-security-policy": HEADERS["content-security-policy"],
        }  # fmt: skip
        return Stream(pieces, media_type=found.media_type, headers=headers)

    return [task_page, task_state, task_file]


async def ask(
    desk: Desk,
    visit: Visit,
    kind: task_kinds.Kind,
    parameters: dict[str, Any],
    *,
    back: str,
    org: str | None = None,
    upload: bytes | None = None,
) -> Redirect:
    """Leaves a task and shows how it goes. ``back``: the page that the person came from. Raises ``PermissionDenied``."""
    rule = task_kinds.rule(kind)
    own = rule.own is not None and org is not None and org == visit.person.org
    roles.require(visit.person.roles, rule.own if own and rule.own else task_kinds.FOR_THE_INSTALLATION)
    person = visit.person.person
    made = await desk.change(person, lambda change: tasks.ask(change, person, kind, parameters, org, upload))
    return go(f"{BASE}/tasks/{made.id}?back={back}")


def visible(visit: Visit, found: Task) -> bool:
    """Whether this visitor may look at it."""
    if visit.may(task_kinds.FOR_THE_INSTALLATION):
        return True
    rule = task_kinds.rule(found.kind)
    return found.org is not None and found.org == visit.person.org and rule.own is not None and visit.may(rule.own)


def _first(connection: Connection, visit: Visit, found: Task) -> bytes | None:
    """The file's first piece, and the line in the organisation's access log that goes with it."""
    piece = tasks.part(connection, found.id, 0)
    if piece is not None:
        taken(connection, found, visit.person.person, visit.address)
    return piece


def _why(visit: Visit, found: Task) -> str:
    """Why it failed, in the reader's language where the code says enough, else as billing said it."""
    told = f"task.error_{found.error_code}"
    return wording.say(visit.lang, told) if wording.has(told) else found.error or ""


def _state(found: Task) -> str:
    return f"{found.state}/{found.progress}"
