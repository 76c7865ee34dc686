"""Files for finance, made by billing; what is paid and what is not; provider statements; the invariants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from sqlalchemy import Connection

from api.console import BASE
from api.console.finance.months import month_in, of
from api.console.rendering import page
from api.console.tasks import ask
from api.console.visit import Visit, form, form_with_file, visit_of
from api.manage.desk import Desk
from gateway import tasks
from gateway.accounts import documents
from gateway.accounts.checks import last_run, statements
from gateway.deployments.providers import known as providers
from gateway.errors import InvalidRequest
from gateway.task_kinds import KINDS, Kind
from gateway.tasks import Task

SHOWN = 50
EXPORTS: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind.startswith("export."))
FORMATS: dict[str, tuple[str, ...]] = {
    "settlement": ("xlsx", "csv"), "usage": ("xlsx", "csv"), "journal": ("csv",), "tax-invoice": ("xlsx",),
    "invoice": ("pdf", "html"),
}  # fmt: skip
MOST_UPLOAD = tasks.LARGEST_UPLOAD + 64 * 1024


def file_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/finance/exports", action="export.read", installation=True)
    async def exports_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        visit = visit_of(request)
        org = of(visit)

        def work(connection: Connection) -> tuple[Sequence[Task], list[str]]:
            made = tasks.page(connection, org, kinds=EXPORTS, most=SHOWN)
            return made, [each.month for each in documents.months(connection, org)]

        made, months = await desk.read(work)
        return page(
            request, "finance_exports.html", settings=desk.settings, section="finance", tasks=made, months=months,
            chosen=visit.query.get("month", ""), state=_under_way(made), everybody=org is None,
        )  # fmt: skip

    @get("/finance/exports/state", action="export.read", installation=True, quiet=True)
    async def exports_state(request: Request[Any, Any, Any]) -> Response[dict[str, str]]:
        org = of(visit_of(request))
        made = await desk.read(lambda connection: tasks.page(connection, org, kinds=EXPORTS, most=SHOWN))
        return Response({"state": _under_way(made)}, headers={"cache-control": "no-store"})

    @post("/finance/exports", action="export.write", installation=True)
    async def export(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        return await ask_export(desk, visit, fields)

    @get("/finance/payments", action="invoice.read", installation=True)
    async def payments_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        org = of(visit_of(request))

        def work(connection: Connection) -> tuple[Any, Any]:
            return documents.unpaid(connection, org), documents.payments(connection, org)

        unpaid, paid = await desk.read(work)
        return page(
            request, "finance_payments.html", settings=desk.settings, section="finance", unpaid=unpaid, paid=paid,
            everybody=org is None,
        )  # fmt: skip

    return [exports_page, exports_state, export, payments_page, *_book_routes(desk)]


def _book_routes(desk: Desk) -> list[HTTPRouteHandler]:
    @get("/finance/statements", action="installation.finance", installation=True)
    async def statements_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        found = await desk.read(lambda connection: statements(connection, SHOWN))
        return page(
            request, "finance_statements.html", settings=desk.settings, section="finance", statements=found,
            providers=sorted(providers()),
        )  # fmt: skip

    @post(
        "/finance/statements",
        action="installation.finance",
        installation=True,
        request_max_body_size=MOST_UPLOAD,
    )
    async def import_statement(request: Request[Any, Any, Any]) -> Response[Any]:
        visit = visit_of(request)
        fields, content = await form_with_file(request)
        if not content:
            raise InvalidRequest("A file has to come with this.", param="file")
        given: dict[str, Any] = {"provider": fields.get("provider", ""), "zone": fields.get("zone") or "UTC"}
        if paid := fields.get("paid_rate"):
            given["paid_rate"] = paid
        made = await ask(desk, visit, "statement.import", given, upload=content, back=f"{BASE}/finance/statements")
        return cast("Response[Any]", made)

    @get("/finance/checks", action="installation.finance", installation=True)
    async def checks_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        found = await desk.read(last_run)
        return page(request, "finance_checks.html", settings=desk.settings, section="finance", run=found)

    @post("/finance/checks", action="installation.finance", installation=True)
    async def check(request: Request[Any, Any, Any]) -> Response[Any]:
        visit = visit_of(request)
        await form(request)
        return cast("Response[Any]", await ask(desk, visit, "reconcile", {}, back=f"{BASE}/finance/checks"))

    return [statements_page, import_statement, checks_page, check]


def _under_way(made: Sequence[Task]) -> str:
    """Changes whenever one of them goes on; ``done`` where nothing more will happen."""
    return "/".join(f"{each.id}-{each.state}-{each.progress}" for each in made if not each.finished) or "done"


async def ask_export(desk: Desk, visit: Visit, fields: dict[str, str]) -> Response[Any]:
    """One file of a month: ``what`` is its kind and format, ``org`` narrows the operator's to one organisation."""
    what, _, form_of = fields.get("what", "").partition(".")
    if form_of not in FORMATS.get(what, ()):
        raise InvalidRequest("No such file.", param="what")
    month, org = month_in(fields.get("month", "")), of(visit) or fields.get("org") or None
    given: dict[str, Any] = {"month": month, "format": form_of}
    if number := fields.get("number"):
        given["number"] = number
    back = f"{BASE}/finance/months/{month}" + (f"/{org}" if fields.get("org") else "")
    return cast("Response[Any]", await ask(desk, visit, cast("Kind", f"export.{what}"), given, org=org, back=back))
