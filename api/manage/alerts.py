"""Who is told when 50, 80 or 100 % of a limit is used, and how telling them went."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
from litestar import Request, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from api.manage.desk import Desk
from api.manage.door import asked
from api.manage.pages import After, Limit, Page, id_place, paged
from api.manage.shapes import Input
from gateway.accounts import alerts, alerts_log
from gateway.accounts.alerts import AlertSettings
from gateway.accounts.alerts_log import Alert, Delivery, Scope
from gateway.accounts.change import Change
from gateway.money import won_text


class PutAlerts(Input, frozen=True):
    """All settings; what is left out goes back to its default. ``emails`` come on top of owners and finance people,
    who get mail while ``mail_people`` is on. ``webhook_url`` null: no webhook."""

    thresholds: list[int] = msgspec.field(default_factory=lambda: list(alerts.THRESHOLDS))
    mail_people: bool = True
    emails: list[str] = msgspec.field(default_factory=list[str])
    webhook_url: str | None = None


class AlertsSet(msgspec.Struct, frozen=True):
    """``webhook_secret`` is shown this once, where the first webhook made one."""

    settings: AlertSettings
    webhook_secret: str | None


class WebhookSecret(msgspec.Struct, frozen=True):
    """Shown this once. Deliveries are signed with it from now on."""

    webhook_secret: str


class AlertView(msgspec.Struct, frozen=True):
    """A threshold that was passed. ``key``: whose limit, null for the organization's own. ``period``: the month
    (``YYYYMM``), or the top-up from which credit is measured."""

    id: str
    scope: Scope
    key: str | None
    period: str
    percent: int
    limit_krw: str
    spent_krw: str
    raised_at: dt.datetime


class Sent(msgspec.Struct, frozen=True):
    """The test's deliveries; ``GET /alerts/deliveries`` shows in a moment how they went."""

    deliveries: list[Delivery]


def alert_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""
    sealer = desk.settings.sealer(alerts.PURPOSE)

    @get("/alerts", action="alerts.read", tags=["alerts"])
    async def show_alerts(request: Request[Any, Any, Any]) -> AlertSettings:
        org = asked(request).caller.org
        return await desk.read(lambda connection: alerts.get(connection, org))

    @put("/alerts", action="alerts.write", tags=["alerts"])
    async def set_alerts(request: Request[Any, Any, Any], data: JSONBody[PutAlerts]) -> AlertsSet:
        caller = asked(request).caller

        def work(change: Change) -> AlertsSet:
            wanted: alerts.Settings = {
                "thresholds": data.thresholds,
                "mail_people": data.mail_people,
                "emails": data.emails,
                "webhook_url": data.webhook_url,
            }
            private = desk.settings.allow_private_webhooks
            return AlertsSet(*alerts.update(change, caller.org, wanted, sealer, allow_private=private))

        return await desk.change(caller.actor, work)

    @post("/alerts/secret", action="alerts.write", tags=["alerts"])
    async def rotate_secret(request: Request[Any, Any, Any]) -> WebhookSecret:
        caller = asked(request).caller
        return WebhookSecret(
            await desk.change(caller.actor, lambda change: alerts.rotate_secret(change, caller.org, sealer))
        )

    @post("/alerts/test", action="alerts.write", tags=["alerts"])
    async def test_alerts(request: Request[Any, Any, Any]) -> Sent:
        caller = asked(request).caller
        sent = await desk.change(caller.actor, lambda change: alerts_log.send_test(change, caller.org))
        return Sent(list(sent))

    @get("/alerts/raised", action="alerts.read", tags=["alerts"])
    async def list_raised(request: Request[Any, Any, Any], limit: Limit = 50, after: After = None) -> Page[AlertView]:
        org, start = asked(request).caller.org, id_place(after)
        found = await desk.read(lambda connection: alerts_log.raised(connection, org, before=start, most=limit + 1))
        return paged([view(alert) for alert in found], limit, lambda alert: alert.id)

    @get("/alerts/deliveries", action="alerts.read", tags=["alerts"])
    async def list_deliveries(
        request: Request[Any, Any, Any], limit: Limit = 50, after: After = None
    ) -> Page[Delivery]:
        org, start = asked(request).caller.org, id_place(after)
        found = await desk.read(lambda connection: alerts_log.deliveries(connection, org, before=start, most=limit + 1))
        return paged(found, limit, lambda delivery: delivery.id)

    return [show_alerts, set_alerts, rotate_secret, test_alerts, list_raised, list_deliveries]


def view(alert: Alert) -> AlertView:
    """An alert as the API shows it."""
    limit, spent = (won_text(Decimal(micro).scaleb(-6)) for micro in (alert.limit_micro, alert.spent_micro))
    return AlertView(
        alert.id, alert.scope, alert.subject or None, alert.period, alert.percent, limit, spent, alert.raised_at
    )
