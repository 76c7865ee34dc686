"""All settings pages."""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from api.console.settings.account import account_routes
from api.console.settings.alerts import alert_routes
from api.console.settings.audit import audit_routes
from api.console.settings.billing import billing_routes
from api.console.settings.layout import first_route
from api.console.settings.limits import limit_routes
from api.console.settings.members import member_routes
from api.console.settings.rules import rule_routes
from api.console.settings.transfers import transfer_routes
from api.manage.signing import Signing


def settings_routes(signing: Signing) -> list[HTTPRouteHandler]:
    """The handlers."""
    desk = signing.desk
    return [
        first_route(),
        *member_routes(desk),
        *limit_routes(desk),
        *alert_routes(desk),
        *rule_routes(desk),
        *transfer_routes(desk),
        *billing_routes(desk),
        *audit_routes(desk),
        *account_routes(signing),
    ]
