"""Rates, prices, provider statements, looks at the books, and usage that could not be booked: for the operator."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody
from sqlalchemy import Connection

from api.manage.asking import TASK_ANSWER, Wait, ask, plain
from api.manage.desk import Desk
from api.manage.door import asked
from api.manage.pages import After, Limit, Page, id_place, number_place, paged
from gateway.finance import checks, costs, rates
from gateway.finance.checks import DeadLetter, Discarded, Look, Matched
from gateway.finance.costs import BelowCost, By, Margin
from gateway.task_kinds import Discard, ImportRates, ImportStatement, Nothing, Replay, SetCost, SetPrice, SetRate
from gateway.tasks import Task
from gateway.wire import keys
from gateway.wire.ids import SEOUL

MOST_LETTERS = 200


class Rates(msgspec.Struct, frozen=True):
    """Won per USD, newest first. ``business_days``: how many of Korea's have passed since the newest one's date."""

    data: list[dict[str, Any]]
    newest: dt.date | None
    business_days: int
    demo: bool


class BringRates(ImportRates, frozen=True, kw_only=True):
    """``file``: a CSV with the columns date and rate (base64)."""

    file: bytes


class BringStatement(ImportStatement, frozen=True, kw_only=True):
    """``file``: a CSV with the columns day, model, prompt_tokens, completion_tokens and usd (base64)."""

    file: bytes


class BringCosts(Nothing, frozen=True, kw_only=True):
    """``file``: a CSV with the columns provider, model, input_usd, output_usd and any of the others (base64)."""

    file: bytes


class Costs(msgspec.Struct, frozen=True):
    """What was entered, newest first, and what is sold below it."""

    data: list[dict[str, Any]]
    below_cost: list[BelowCost]


class Margins(msgspec.Struct, frozen=True):
    """See ``Margin``."""

    data: list[Margin]


class DeadLetters(msgspec.Struct, frozen=True):
    """Oldest first. ``waiting``: how many there are."""

    data: list[DeadLetter]
    waiting: int
    discarded: list[Discarded]


def book_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""
    return [*_rate_routes(desk), *_cost_routes(desk), *_check_routes(desk)]


def _rate_routes(desk: Desk) -> list[HTTPRouteHandler]:
    @get("/rates", action="installation.finance", tags=["rates"])
    async def list_rates(request: Request[Any, Any, Any], most: FromQuery[int] = 60) -> Rates:
        asked(request)
        today = dt.datetime.now(SEOUL).date()

        def work(connection: Connection) -> Rates:
            age = rates.staleness(connection, today)
            found = rates.listed(connection, max(1, min(most, 1_000)))
            return Rates(found, age.newest, age.business_days, age.demo)

        return await desk.read(work)

    @post("/rates", action="installation.finance", tags=["rates"], status_code=TASK_ANSWER)
    async def set_rate(request: Request[Any, Any, Any], data: JSONBody[SetRate], wait: Wait = 0) -> Task:
        return await ask(desk, asked(request).caller, "fx.set", plain(data), wait_s=wait)

    @post("/rates/import", action="installation.finance", tags=["rates"], status_code=TASK_ANSWER)
    async def import_rates(request: Request[Any, Any, Any], data: JSONBody[BringRates], wait: Wait = 0) -> Task:
        caller = asked(request).caller
        return await ask(desk, caller, "fx.import", plain(data, "file"), upload=data.file, wait_s=wait)

    @post("/prices", action="installation.finance", tags=["rates"], status_code=TASK_ANSWER)
    async def set_price(request: Request[Any, Any, Any], data: JSONBody[SetPrice], wait: Wait = 0) -> Task:
        """What customers pay for a model from now on, or from ``start``."""
        return await ask(desk, asked(request).caller, "price.set", plain(data), wait_s=wait)

    return [list_rates, set_rate, import_rates, set_price]


def _cost_routes(desk: Desk) -> list[HTTPRouteHandler]:
    @get("/costs", action="installation.finance", tags=["rates"])
    async def list_costs(request: Request[Any, Any, Any], model: FromQuery[str | None] = None) -> Costs:
        asked(request)

        def work(connection: Connection) -> Costs:
            return Costs(costs.listed(connection, model=model), list(costs.below_cost(connection)))

        return await desk.read(work)

    @post("/costs", action="installation.finance", tags=["rates"], status_code=TASK_ANSWER)
    async def set_cost(request: Request[Any, Any, Any], data: JSONBody[SetCost], wait: Wait = 0) -> Task:
        """What a provider charges for a model."""
        return await ask(desk, asked(request).caller, "cost.set", plain(data), wait_s=wait)

    @post("/costs/import", action="installation.finance", tags=["rates"], status_code=TASK_ANSWER)
    async def import_costs(request: Request[Any, Any, Any], data: JSONBody[BringCosts], wait: Wait = 0) -> Task:
        return await ask(desk, asked(request).caller, "cost.import", {}, upload=data.file, wait_s=wait)

    @get("/margins", action="installation.finance", tags=["rates"])
    async def list_margins(
        request: Request[Any, Any, Any],
        since: FromQuery[dt.date],
        until: FromQuery[dt.date],
        by: FromQuery[By] = "model",
    ) -> Margins:
        """Days of Seoul, both included; the worst margin first."""
        asked(request)
        return Margins(list(await desk.read(lambda connection: costs.margins(connection, since, until, by))))

    return [list_costs, set_cost, import_costs, list_margins]


def _check_routes(desk: Desk) -> list[HTTPRouteHandler]:
    @get("/statements", action="installation.finance", tags=["books"])
    async def list_statements(request: Request[Any, Any, Any], limit: Limit = 50, after: After = None) -> Page[Matched]:
        asked(request)
        start = id_place(after)
        found = await desk.read(lambda connection: checks.statements(connection, limit + 1, start))
        return paged(found, limit, lambda statement: statement.id)

    @get("/statements/{statement_id:str}", action="installation.finance", tags=["books"])
    async def show_statement(request: Request[Any, Any, Any], statement_id: FromPath[str]) -> Matched:
        asked(request)
        return await desk.read(lambda connection: checks.statement(connection, statement_id))

    @post("/statements", action="installation.finance", tags=["books"], status_code=TASK_ANSWER)
    async def import_statement(request: Request[Any, Any, Any], data: JSONBody[BringStatement], wait: Wait = 0) -> Task:
        caller = asked(request).caller
        return await ask(desk, caller, "statement.import", plain(data, "file"), upload=data.file, wait_s=wait)

    @get("/reconciliations", action="installation.finance", tags=["books"])
    async def list_reconciliations(
        request: Request[Any, Any, Any], limit: Limit = 24, after: After = None
    ) -> Page[Look]:
        """Every look at the books: each number must be 0."""
        asked(request)
        start = number_place(after)
        found = await desk.read(lambda connection: checks.looks(connection, limit + 1, start))
        return paged(found, limit, lambda look: str(look.id))

    @post("/reconciliations", action="installation.finance", tags=["books"], status_code=TASK_ANSWER)
    async def reconcile(request: Request[Any, Any, Any], data: JSONBody[Nothing], wait: Wait = 0) -> Task:
        return await ask(desk, asked(request).caller, "reconcile", plain(data), wait_s=wait)

    @get("/dead-letters", action="installation.finance", tags=["books"])
    async def list_dead_letters(request: Request[Any, Any, Any]) -> DeadLetters:
        asked(request)
        redis = desk.parts.redis
        found = await redis.execute_command("XRANGE", keys.DEAD, "-", "+", "COUNT", MOST_LETTERS)
        waiting = await redis.execute_command("XLEN", keys.DEAD)
        gone = await desk.read(checks.discarded)
        return DeadLetters([checks.dead_letter(entry, fields) for entry, fields in _pairs(found)], waiting, list(gone))

    @post("/dead-letters/replay", action="installation.finance", tags=["books"], status_code=TASK_ANSWER)
    async def replay(request: Request[Any, Any, Any], data: JSONBody[Replay], wait: Wait = 0) -> Task:
        return await ask(desk, asked(request).caller, "dead_letters.replay", plain(data), wait_s=wait)

    @post("/dead-letters/discard", action="installation.finance", tags=["books"], status_code=TASK_ANSWER)
    async def discard(request: Request[Any, Any, Any], data: JSONBody[Discard], wait: Wait = 0) -> Task:
        return await ask(desk, asked(request).caller, "dead_letters.discard", plain(data), wait_s=wait)

    return [
        list_statements, show_statement, import_statement, list_reconciliations, reconcile, list_dead_letters, replay,
        discard,
    ]  # fmt: skip


def _pairs(found: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Entries as either protocol of Redis gives them."""
    return [
        (entry, fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True)))
        for entry, fields in found
    ]
