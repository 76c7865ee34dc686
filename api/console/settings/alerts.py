"""Who is told when a limit is nearly used, and how telling them went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from sqlalchemy import Connection

from api.console.forms import lines
from api.console.settings.layout import back, settings_page
from api.console.visit import form, visit_of
from api.manage.desk import Desk
from gateway.accounts import alerts, alerts_log
from gateway.accounts.alerts import AlertSettings
from gateway.accounts.alerts_log import Alert, Delivery
from gateway.accounts.change import Change
from gateway.errors import Conflict, GatewayError, InvalidRequest, RateLimitExceeded

SHOWN = 10
"""Alerts and deliveries of one page; the management API has them all."""


def alert_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""
    sealer = desk.settings.sealer(alerts.PURPOSE)

    @get("/settings/alerts", action="alerts.read")
    async def alerts_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await _shown(desk, request)

    @post("/settings/alerts", action="alerts.write", status_code=200)
    async def set_alerts(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        wanted: alerts.Settings = {
            "thresholds": [percent for percent in alerts.THRESHOLDS if f"at{percent}" in fields],
            "mail_people": "mail_people" in fields,
            "emails": lines(fields.get("emails", "")),
            "webhook_url": fields.get("webhook_url") or None,
        }

        def work(change: Change) -> str | None:
            private = desk.settings.allow_private_webhooks
            return alerts.update(change, visit.org, wanted, sealer, allow_private=private)[1]

        try:
            secret = await desk.change(visit.person.person, work)
        except InvalidRequest as error:
            return await _shown(desk, request, error, fields)
        return back("alerts", "saved") if secret is None else await _shown(desk, request, secret=secret)

    @post("/settings/alerts/secret", action="alerts.write", status_code=200)
    async def rotate_secret(request: Request[Any, Any, Any]) -> Response[Any]:
        visit = visit_of(request)
        await form(request)
        secret = await desk.change(visit.person.person, lambda change: alerts.rotate_secret(change, visit.org, sealer))
        return await _shown(desk, request, secret=secret)

    @post("/settings/alerts/test", action="alerts.write", status_code=200)
    async def send_test(request: Request[Any, Any, Any]) -> Response[Any]:
        visit = visit_of(request)
        await form(request)
        try:
            await desk.change(visit.person.person, lambda change: alerts_log.send_test(change, visit.org))
        except Conflict:
            return await _shown(desk, request, Conflict(param="channel"))
        except RateLimitExceeded as error:
            return await _shown(desk, request, error)
        return back("alerts", "tested")

    return [alerts_page, set_alerts, rotate_secret, send_test]


async def _shown(
    desk: Desk,
    request: Request[Any, Any, Any],
    error: GatewayError | None = None,
    typed: dict[str, str] | None = None,
    secret: str = "",
) -> Response[bytes]:
    visit = visit_of(request)

    def work(connection: Connection) -> tuple[AlertSettings, Sequence[Alert], Sequence[Delivery]]:
        return (
            alerts.get(connection, visit.org),
            alerts_log.raised(connection, visit.org, most=SHOWN),
            alerts_log.deliveries(connection, visit.org, most=SHOWN),
        )

    known, raised, deliveries = await desk.read(work)
    stored = {"emails": "\n".join(known.emails), "webhook_url": known.webhook_url or ""}
    return settings_page(
        request, desk, "alerts", error=error, alerts=known, raised=raised, deliveries=deliveries,
        thresholds=alerts.THRESHOLDS, typed=stored | (typed or {}), secret=secret,
        wrong=None if error is None else error.param, may_write=visit.may("alerts.write"),
    )  # fmt: skip
