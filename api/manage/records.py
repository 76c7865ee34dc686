"""What was done, by whom."""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from api.manage.desk import Desk
from api.manage.door import asked
from api.manage.pages import After, Limit, Page, number_place, paged
from gateway.accounts import audit
from gateway.accounts.audit import Entry


def record_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/audit-log", action="audit.read", tags=["records"])
    async def list_audit_log(
        request: Request[Any, Any, Any], limit: Limit = 50, after: After = None, action: FromQuery[str | None] = None
    ) -> Page[Entry]:
        org, start = asked(request).caller.org, number_place(after)
        found = await desk.read(
            lambda connection: audit.page(connection, org, before=start, most=limit + 1, action=action)
        )
        return paged(found, limit, lambda entry: str(entry.id))

    return [list_audit_log]
