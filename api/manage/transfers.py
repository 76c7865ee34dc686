"""Where data goes and how long it stays: the register of providers, retention with its proofs, incident exports."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
from litestar import Request, Response, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from sqlalchemy import Connection

from api.manage.desk import Desk
from api.manage.door import Caller, asked
from api.manage.pages import After, Limit, Page, cursor, id_place, number_place, paged
from api.manage.privacy import reason_of
from api.manage.shapes import Input
from gateway.accounts import access, incidents, retention
from gateway.accounts.incidents import Scope, Transfer
from gateway.accounts.retention import Class, Proof
from gateway.csv_file import to_csv
from gateway.deployments import register
from gateway.deployments.register import Recipient
from gateway.errors import InvalidRequest
from gateway.wire import ids


class Register(msgspec.Struct, frozen=True):
    """Every provider that the organisation's requests can reach, or reached lately."""

    data: list[Recipient]


class Retention(msgspec.Struct, frozen=True):
    """Every class of data that the installation keeps."""

    data: list[Class]


class SetRetention(Input, frozen=True):
    """How many days a class is kept, within its bounds."""

    name: str
    days: int


class AskIncident(Input, frozen=True):
    """Which calls, by the moment of their admission, and why you ask. ``key``: the id of one API key."""

    since: dt.datetime
    until: dt.datetime
    reason: str
    key: str | None = None
    after: str | None = None


class Incident(msgspec.Struct, frozen=True):
    """The sums of the whole period, and its transfers by pages of 5,000 calls, oldest first. No prompt, no answer."""

    summary: incidents.Summary
    data: list[Transfer]
    next: str | None


def transfer_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""
    return [*_register_routes(desk), *_retention_routes(desk), *_incident_routes(desk)]


def _register_routes(desk: Desk) -> list[HTTPRouteHandler]:
    path, judge = desk.settings.provider_register, desk.parts.moderation.judge

    @get("/privacy/providers", action="privacy.read", tags=["privacy"])
    async def list_recipients(request: Request[Any, Any, Any]) -> Register:
        org = asked(request).caller.org
        return Register(await desk.read(lambda connection: register.recipients(connection, org, path, judge)))

    @get("/privacy/providers.csv", action="privacy.read", tags=["privacy"], media_type="text/csv")
    async def export_recipients(request: Request[Any, Any, Any]) -> Response[bytes]:
        caller = asked(request).caller

        def work(connection: Connection) -> list[Recipient]:
            found = register.recipients(connection, caller.org, path, judge)
            access.note(connection, caller.looker, "providers.export", len(found))
            return found

        return csv_answer("providers.csv", to_csv(register.COLUMNS, await desk.read(work)))

    return [list_recipients, export_recipients]


def _retention_routes(desk: Desk) -> list[HTTPRouteHandler]:
    @get("/privacy/retention", action="privacy.read", tags=["privacy"])
    async def list_retention(request: Request[Any, Any, Any]) -> Retention:
        asked(request)
        return Retention(list(await desk.read(retention.listed)))

    @put("/privacy/retention", action="retention.write", tags=["privacy"])
    async def set_retention(request: Request[Any, Any, Any], data: JSONBody[SetRetention]) -> Class:
        caller = asked(request).caller
        return await desk.change(caller.actor, lambda change: retention.set_days(change, data.name, data.days))

    @get("/privacy/deletions", action="deletion.read", tags=["privacy"])
    async def list_deletions(request: Request[Any, Any, Any], limit: Limit = 50, after: After = None) -> Page[Proof]:
        org, start = asked(request).caller.org, number_place(after)
        found = await desk.read(lambda connection: retention.proofs(connection, org, before=start, most=limit + 1))
        return paged(found, limit, lambda proof: str(proof.id))

    return [list_retention, set_retention, list_deletions]


def _incident_routes(desk: Desk) -> list[HTTPRouteHandler]:
    path = desk.settings.provider_register

    async def found(caller: Caller, data: AskIncident) -> Incident:
        reason, start = reason_of(data.reason), id_place(data.after)
        if data.key is not None and ids.from_public(data.key) is None:
            raise InvalidRequest("'key' must be the id of a key.", param="key")
        scope = incidents.check(Scope(data.since, data.until, caller.org, data.key))

        def work(connection: Connection) -> Incident:
            sums = incidents.summary(connection, scope, path)
            transfers, more = incidents.page(connection, scope, after=start, path=path)
            access.note(connection, caller.looker, "incident.export", len(transfers), reason=reason)
            return Incident(sums, transfers, None if more is None else cursor(more))

        return await desk.read(work)

    @post("/privacy/incidents/export", action="incident.export", tags=["privacy"], status_code=200)
    async def export_incident(request: Request[Any, Any, Any], data: JSONBody[AskIncident]) -> Incident:
        return await found(asked(request).caller, data)

    @post(
        "/privacy/incidents/export.csv", action="incident.export", tags=["privacy"], status_code=200,
        media_type="text/csv",
    )  # fmt: skip
    async def export_incident_table(request: Request[Any, Any, Any], data: JSONBody[AskIncident]) -> Response[bytes]:
        """The transfers of a page as a table; where there is more, the header ``x-next`` holds the next ``after``."""
        shown = await found(asked(request).caller, data)
        table = to_csv(incidents.COLUMNS, shown.data, headings=data.after is None)
        return csv_answer("incident.csv", table, {} if shown.next is None else {"x-next": shown.next})

    return [export_incident, export_incident_table]


def csv_answer(name: str, table: str, headers: dict[str, str] | None = None) -> Response[bytes]:
    """A table as a file to save."""
    told = {"content-disposition": f'attachment; filename="{name}"', **(headers or {})}
    return Response(table.encode(), media_type="text/csv; charset=utf-8", headers=told)
