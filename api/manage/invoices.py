"""Invoices to look at and to print, and the files that finance fetches."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from anyio import to_thread
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from sqlalchemy import Connection

from api.manage.asking import TASK_ANSWER, Wait, ask, plain, reach, whole
from api.manage.desk import Desk
from api.manage.door import Caller, asked
from api.manage.pages import After, Limit, Page, id_place, paged
from gateway import task_kinds
from gateway.accounts import access, roles
from gateway.accounts.access import Looker
from gateway.finance import documents
from gateway.finance.documents import SEEN_BY_CUSTOMERS, Document, Format
from gateway.invoices.invoice import State
from gateway.task_kinds import Month, Number, Parameters
from gateway.tasks import Task

InState = Annotated[State | None, QueryParameter(name="state", description="Only those in this state.")]


class DocumentShown(msgspec.Struct, frozen=True):
    """A document and everything that it says (lines, sums, funding, rates, parties), exact amounts as text."""

    document: Document
    content: dict[str, Any]


class AskExport(Parameters, frozen=True):
    """``format``: settlement and usage come as xlsx or csv, journal as csv, tax-invoice as xlsx, invoice as pdf or html.

    ``all_organizations`` is for the operator. ``file``: the tax office's own form as downloaded (base64), to be filled.
    """

    what: Literal["settlement", "usage", "journal", "tax-invoice", "invoice"]
    month: Month
    format: Literal["xlsx", "csv", "pdf", "html"] | None = None
    number: Number | None = None
    all_organizations: bool = False
    file: bytes | None = None


MEDIA_TYPES = {"html": "text/html", "pdf": "application/pdf"}
ONLY_ITSELF = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'self'"
"""The document is a page of its own and needs nothing from anywhere."""


def invoice_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/invoices", action="invoice.read", tags=["invoices"])
    async def list_invoices(
        request: Request[Any, Any, Any],
        limit: Limit = 50,
        after: After = None,
        month: FromQuery[str | None] = None,
        organization: FromQuery[str | None] = None,
        in_state: InState = None,
    ) -> Page[Document]:
        """Documents that have gone out; the operator also sees drafts, and everybody's unless one is named."""
        caller, start = asked(request).caller, id_place(after)
        org = reach(caller) or whole(organization)
        states = visible(caller) if in_state is None else (in_state,)
        if in_state is not None and visible(caller) and in_state not in visible(caller):
            return Page([])

        def work(connection: Connection) -> Any:
            return documents.page(connection, org, month=month, states=states, before=start, most=limit + 1)

        return paged(await desk.read(work), limit, lambda document: document.id)

    @get("/invoices/{invoice_id:str}", action="invoice.read", tags=["invoices"])
    async def show_invoice(request: Request[Any, Any, Any], invoice_id: FromPath[str]) -> DocumentShown:
        """By id or number."""
        caller = asked(request).caller
        found = await desk.read(lambda c: documents.show(c, invoice_id, reach(caller), visible(caller)))
        return DocumentShown(*found)

    @get("/invoices/{invoice_id:str}/document", action="invoice.read", tags=["invoices"])
    async def print_invoice(
        request: Request[Any, Any, Any],
        invoice_id: FromPath[str],
        format: FromQuery[Format] = "pdf",  # noqa: A002
    ) -> Response[bytes]:
        """As a page or a PDF."""
        return await printed(desk, asked(request).caller, invoice_id, format)

    @post("/exports", action="export.write", tags=["exports"], status_code=TASK_ANSWER)
    async def create_export(request: Request[Any, Any, Any], data: JSONBody[AskExport], wait: Wait = 0) -> Task:
        """A task; once it is done its file is at ``/tasks/{id}/file``."""
        caller = asked(request).caller
        given = plain(data, "what", "all_organizations", "file")
        org = None if data.all_organizations else caller.org or None
        kind = f"export.{data.what}"
        return await ask(desk, caller, kind, given, organisation=org, upload=data.file, wait_s=wait)

    return [list_invoices, show_invoice, print_invoice, create_export]


async def printed(desk: Desk, caller: Caller, invoice_id: str, form: Format) -> Response[bytes]:
    """An invoice as a file; who looked at it is written down first. Raises ``NotFound``."""

    def work(connection: Connection) -> Any:
        shown, _ = documents.show(connection, invoice_id, reach(caller), visible(caller))
        looker = Looker(shown.org, caller.actor, caller.address)
        access.note(connection, looker, "invoice.document", 1, reason=shown.number or shown.month)
        return shown, documents.printed(connection, invoice_id, reach(caller), visible(caller))

    shown, drawn = await desk.read(work)
    content = await to_thread.run_sync(documents.render, drawn, form)
    name = f"{shown.number or f'draft-{shown.month}'}.{form}"
    headers = {
        "content-disposition": f'{"inline" if form == "html" else "attachment"}; filename="{name}"',
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "content-security-policy": ONLY_ITSELF,
    }
    return Response(content, media_type=MEDIA_TYPES[form], headers=headers)


def visible(caller: Caller) -> tuple[State, ...]:
    """The states a caller sees; empty = all."""
    return () if roles.scope_of(caller.roles, task_kinds.FOR_THE_INSTALLATION) else SEEN_BY_CUSTOMERS
