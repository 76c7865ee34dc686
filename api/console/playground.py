"""The model test page. The browser talks to the chat endpoint itself, under the session; here is only the page around it."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from api.console.price_table import table
from api.console.rendering import page
from api.console.visit import visit_of
from api.manage.desk import Desk

EFFORTS = ("minimal", "low", "medium", "high")
COLUMNS = (1, 2, 3)
LANGUAGES = ("curl", "python", "javascript")


def playground_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handler."""

    @get("/playground", action="model.call")
    async def playground_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        rows, _ = table(desk)
        wanted = visit_of(request).query.get("model", "")
        usable = [row for row in rows if row.available]
        first = next((row.id for row in usable if row.id == wanted), usable[0].id if usable else "")
        return page(
            request,
            "playground.html",
            settings=desk.settings,
            images=True,
            rows=rows,
            first=first,
            efforts=EFFORTS,
            columns=COLUMNS,
            languages=LANGUAGES,
        )

    return [playground_page]
