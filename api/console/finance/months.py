"""Months and their state, the documents of one, and the steps of the close, each asked of billing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, cast

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from sqlalchemy import Connection

from api.console import BASE
from api.console.finance.lines import Grouped, by_each
from api.console.rendering import page
from api.console.tasks import ask
from api.console.visit import Visit, form, visit_of
from api.manage.desk import Desk
from gateway.accounts import documents, organisations
from gateway.accounts.documents import Document, Paid, Whole
from gateway.errors import InvalidRequest, NotFound
from gateway.task_kinds import Kind
from gateway.wire import ids

ROWS = 50
"""Of one page."""
MOST_PAGES = 10_000
STEPS = ("draft", "review", "finalise", "issue")
FROM = {"open": "draft", "draft": "review", "reviewed": "finalise", "final": "issue"}
"""State -> the step that leads out of it, the earliest state first: what the month waits for."""
NEED_WORD = ("finalise", "issue")
"""Steps that cannot be undone: asked about once more."""
STATES = ("open", "draft", "reviewed", "final", "issued", "paid", "overdue", "amended")
REASON_CODES = ("01", "02", "03", "04", "05", "06")


class OneMonth(msgspec.Struct, frozen=True):
    """What PostgreSQL has of one organisation's month."""

    name: str
    documents: Sequence[Whole]
    rows: Sequence[Document]
    payments: Sequence[Paid]


def month_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/finance", action="invoice.read", installation=True)
    async def months_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        visit = visit_of(request)
        found = await desk.read(lambda connection: documents.months(connection, of(visit)))
        now = ids.month_of(desk.parts.admission.now_ms())
        return page(
            request, "finance_months.html", settings=desk.settings, section="finance", months=found, now=now,
            states=STATES, everybody=of(visit) is None,
        )  # fmt: skip

    @get("/finance/months/{month:str}", action="invoice.read", installation=True)
    async def month_page(request: Request[Any, Any, Any], month: FromPath[str]) -> Response[Any]:
        visit = visit_of(request)
        words, number = visit.query.get("q", "").strip()[:100], _page(visit)
        known = month_in(month)
        org = of(visit)

        def work(connection: Connection) -> tuple[Sequence[Document], list[documents.MonthSum]]:
            sums = [each for each in documents.months(connection, org) if each.month == known]
            skip = (number - 1) * ROWS
            return documents.of_month(connection, known, org, words=words, skip=skip, most=ROWS + 1), sums

        rows, sums = await desk.read(work)
        counts = _standing(sums[0]) if sums else {}
        return page(
            request, "finance_month.html", settings=desk.settings, section="finance", month=known, rows=rows[:ROWS],
            more=len(rows) > ROWS, number=number, words=words, sum=sums[0] if sums else None, steps=STEPS,
            over=known < ids.month_of(desk.parts.admission.now_ms()), states=STATES, everybody=org is None,
            counts=counts, next_step=next((FROM[state] for state in FROM if counts.get(state)), None),
        )  # fmt: skip

    return [months_page, month_page, *_document_routes(desk), *_step_routes(desk)]


def _document_routes(desk: Desk) -> list[HTTPRouteHandler]:
    @get("/finance/months/{month:str}/{org:str}", action="invoice.read", installation=True)
    async def document_page(request: Request[Any, Any, Any], month: FromPath[str], org: FromPath[str]) -> Response[Any]:
        visit, known = visit_of(request), month_in(month)
        if of(visit) not in (None, org):
            raise NotFound()

        def work(connection: Connection) -> OneMonth:
            name = organisations.get(connection, org).name
            found = documents.whole(connection, org, known)
            rows = documents.of_month(connection, known, org)
            return OneMonth(name, found, rows, documents.payments(connection, org, known))

        shown = await desk.read(work)
        wanted = visit.query.get("amendment", "")
        document = next((each for each in shown.documents if str(each.amendment) == wanted), None)
        document = document or (shown.documents[0] if shown.documents else None)
        groups: dict[str, list[Grouped]] = {} if document is None else by_each(document.content)
        return page(
            request, "finance_document.html", settings=desk.settings, section="finance", month=known, org=org,
            name=shown.name, row=shown.rows[0] if shown.rows else None, document=document, all=shown.documents,
            payments=shown.payments, groups=groups, steps=STEPS, codes=REASON_CODES, states=STATES,
            today=dt.datetime.now(ids.SEOUL).date(), mine=document is not None and document.drafted_by == visit.person.person,
            over=known < ids.month_of(desk.parts.admission.now_ms()),
        )  # fmt: skip

    return [document_page]


def _step_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """Every act asks billing and shows how it goes."""

    @post("/finance/months/{month:str}/step", action="installation.finance", installation=True)
    async def step(request: Request[Any, Any, Any], month: FromPath[str]) -> Response[Any]:
        visit, fields, known = visit_of(request), await form(request), month_in(month)
        wanted, org = fields.get("step", ""), fields.get("org") or None
        if wanted not in STEPS:
            raise InvalidRequest("No such step.", param="step")
        back = _back(known, org)
        if wanted in NEED_WORD and not fields.get("sure"):
            name = "" if org is None else await _name(desk, org)
            return page(
                request, "finance_confirmation.html", settings=desk.settings, section="finance", month=known, org=org,
                name=name, step=wanted, back=back,
            )  # fmt: skip
        return cast(
            "Response[Any]",
            await ask(desk, visit, cast("Kind", f"close.{wanted}"), {"month": known}, org=org, back=back),
        )

    @post("/finance/months/{month:str}/{org:str}/amendment", action="installation.finance", installation=True)
    async def amend(request: Request[Any, Any, Any], month: FromPath[str], org: FromPath[str]) -> Response[Any]:
        visit, fields, known = visit_of(request), await form(request), month_in(month)
        given = {"month": known, "code": fields.get("code", ""), "reason": fields.get("reason", "")}
        return cast("Response[Any]", await ask(desk, visit, "close.amend", given, org=org, back=_back(known, org)))

    @post("/finance/months/{month:str}/{org:str}/approval", action="installation.finance", installation=True)
    async def approve(request: Request[Any, Any, Any], month: FromPath[str], org: FromPath[str]) -> Response[Any]:
        visit, fields, known = visit_of(request), await form(request), month_in(month)
        given = {"number": fields.get("number", ""), "approval": fields.get("approval", "")}
        return cast("Response[Any]", await ask(desk, visit, "close.approve", given, org=org, back=_back(known, org)))

    @post("/finance/months/{month:str}/{org:str}/payment", action="installation.finance", installation=True)
    async def pay(request: Request[Any, Any, Any], month: FromPath[str], org: FromPath[str]) -> Response[Any]:
        visit, fields, known = visit_of(request), await form(request), month_in(month)
        amount = fields.get("amount", "").replace(",", "")
        if not (amount.isascii() and amount.isdecimal() and len(amount) < 14):
            raise InvalidRequest("Not a whole number.", param="amount")
        given = {
            "number": fields.get("number", ""), "amount": int(amount), "paid_on": fields.get("paid_on", ""),
            "reference": fields.get("reference", ""),
        }  # fmt: skip
        return cast("Response[Any]", await ask(desk, visit, "payment.book", given, org=org, back=_back(known, org)))

    return [step, amend, approve, pay]


def of(visit: Visit) -> str | None:
    """Whose figures a visitor sees: everybody's, who runs the installation; else their organisation's."""
    return None if visit.person.operator else visit.org


def month_in(text: str) -> str:
    """``YYYYMM`` of an address. Raises ``NotFound``."""
    if not (len(text) == 6 and text.isascii() and text.isdecimal() and "01" <= text[4:] <= "12" and text[0] == "2"):
        raise NotFound()
    return text


def _standing(month: documents.MonthSum) -> dict[str, int]:
    """How many customers stand in which state, those without a document among them."""
    return month.documents | {"open": max(0, month.customers - sum(month.documents.values()))}


async def _name(desk: Desk, org: str) -> str:
    return (await desk.read(lambda connection: organisations.get(connection, org))).name


def _back(month: str, org: str | None) -> str:
    return f"{BASE}/finance/months/{month}" + ("" if org is None else f"/{org}")


def _page(visit: Visit) -> int:
    text = visit.query.get("page", "1")
    return int(text) if text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= MOST_PAGES else 1
