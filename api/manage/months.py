"""The month close by two people: months, drafts, review, final, issued; payments and the tax office's approval."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody
from sqlalchemy import Connection

from api.manage.asking import TASK_ANSWER, Wait, ask, plain, reach, whole
from api.manage.desk import Desk
from api.manage.door import asked
from api.manage.pages import After, Limit, Page, id_place, paged
from gateway.errors import NotFound
from gateway.finance import documents, months
from gateway.finance.documents import Payment
from gateway.finance.months import Month
from gateway.task_kinds import Amend, Approve, Issue
from gateway.task_kinds import Payment as BookPayment
from gateway.tasks import Task

Step = Literal["draft", "review", "finalise", "issue"]


class Months(msgspec.Struct, frozen=True):
    """The newest first."""

    data: list[Month]


class MonthShown(msgspec.Struct, frozen=True):
    """Document by document, and those who have none yet. Whole won; ``used`` exact."""

    month: str
    data: list[dict[str, Any]]


class TakeStep(Issue, frozen=True):
    """``organization``: its id, or null for everybody who used something. ``on`` only where it is issued."""

    organization: str | None = None


class AskAmendment(Amend, frozen=True, kw_only=True):
    """``organization``: whose month."""

    organization: str


def month_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/months", action="installation.finance", tags=["close"])
    async def list_months(request: Request[Any, Any, Any], most: FromQuery[int] = 24) -> Months:
        asked(request)
        now = desk.parts.admission.now_ms()
        return Months(list(await desk.read(lambda c: months.months(c, now, max(1, min(most, 120))))))

    @get("/months/{month:str}", action="installation.finance", tags=["close"])
    async def show_month(request: Request[Any, Any, Any], month: FromPath[str]) -> MonthShown:
        asked(request)
        if not (len(month) == 6 and month.isdecimal() and month >= "200001" and 1 <= int(month[4:]) <= 12):
            raise NotFound(f"no month {month}")
        return MonthShown(month, await desk.read(lambda connection: months.overview(connection, month)))

    @post("/close/{step:str}", action="installation.finance", tags=["close"], status_code=TASK_ANSWER)
    async def take_step(
        request: Request[Any, Any, Any], step: FromPath[str], data: JSONBody[TakeStep], wait: Wait = 0
    ) -> Task:
        """Draft, review, finalise or issue a month. Who drafts can neither review nor finalise."""
        if step not in ("draft", "review", "finalise", "issue"):
            raise NotFound(f"no step {step}")
        given = plain(data, "organization", *(() if step == "issue" else ("on",)))
        caller, org = asked(request).caller, whole(data.organization)
        return await ask(desk, caller, f"close.{step}", given, organisation=org, wait_s=wait)

    @post("/amendments", action="installation.finance", tags=["close"], status_code=TASK_ANSWER)
    async def draft_amendment(request: Request[Any, Any, Any], data: JSONBody[AskAmendment], wait: Wait = 0) -> Task:
        """Review, finalise and issue it as an invoice. The reason code is for a person to choose."""
        given, org = plain(data, "organization"), whole(data.organization)
        return await ask(desk, asked(request).caller, "close.amend", given, organisation=org, wait_s=wait)

    @post("/approvals", action="installation.finance", tags=["close"], status_code=TASK_ANSWER)
    async def note_approval(request: Request[Any, Any, Any], data: JSONBody[Approve], wait: Wait = 0) -> Task:
        return await ask(desk, asked(request).caller, "close.approve", plain(data), wait_s=wait)

    @get("/payments", action="invoice.read", tags=["close"])
    async def list_payments(
        request: Request[Any, Any, Any], limit: Limit = 50, after: After = None, month: FromQuery[str | None] = None
    ) -> Page[Payment]:
        org, start = reach(asked(request).caller), id_place(after)

        def work(connection: Connection) -> Any:
            return documents.payments(connection, org, month=month, before=start, most=limit + 1)

        return paged(await desk.read(work), limit, lambda payment: payment.id)

    @post("/payments", action="installation.finance", tags=["close"], status_code=TASK_ANSWER)
    async def book_payment(request: Request[Any, Any, Any], data: JSONBody[BookPayment], wait: Wait = 0) -> Task:
        return await ask(desk, asked(request).caller, "payment.book", plain(data), wait_s=wait)

    return [
        list_months, show_month, take_step, draft_amendment, note_approval, list_payments, book_payment,
    ]  # fmt: skip
