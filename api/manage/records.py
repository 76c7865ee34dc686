"""What was done, by whom."""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from api.manage.desk import Desk
from api.manage.door import asked
from api.manage.pages import After, Limit, Page, number_place, paged
from gateway.accounts import audit, guardrail_events
from gateway.accounts.audit import Entry
from gateway.accounts.guardrail_events import Shown
from gateway.errors import InvalidRequest
from gateway.wire import ids


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

    @get("/audit-log/guardrails", action="audit.read", tags=["records"])
    async def list_guardrail_events(
        request: Request[Any, Any, Any], limit: Limit = 50, after: After = None, key: FromQuery[str | None] = None
    ) -> Page[Shown]:
        """Calls in which something was masked, and requests that were refused: kinds and counts, never what it was."""
        org, start = asked(request).caller.org, number_place(after)
        if key is not None and ids.from_public(key) is None:
            raise InvalidRequest("'key' must be the id of a key.", param="key")
        found = await desk.read(
            lambda connection: guardrail_events.page(connection, org, key=key, before=start, most=limit + 1)
        )
        return paged(found, limit, lambda event: str(event.id))

    return [list_audit_log, list_guardrail_events]
