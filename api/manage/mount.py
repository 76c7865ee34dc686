"""The management API put together: its routes, and their description."""

from __future__ import annotations

from litestar import Router
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityRequirement, SecurityScheme

from api.manage import BASE
from api.manage.alerts import alert_routes
from api.manage.asking import task_routes
from api.manage.billing_data import billing_data_routes
from api.manage.books import book_routes
from api.manage.desk import HANDLERS
from api.manage.door import guard
from api.manage.invoices import invoice_routes
from api.manage.keys import key_routes
from api.manage.members import member_routes
from api.manage.money import money_routes
from api.manage.months import month_routes
from api.manage.organization import organization_routes
from api.manage.privacy import privacy_routes
from api.manage.records import record_routes
from api.manage.rules import rule_routes
from api.manage.shapes import ErrorBody
from api.manage.signing import Signing, open_routes, session_routes
from api.manage.transfers import transfer_routes
from api.manage.trials import trial_routes
from api.manage.usage import usage_routes

MOST_OF_STRANGERS = 64 * 1024
"""Bytes of a body that is read from whoever sends it: an address and a password fit a hundred times."""
REFUSALS = {
    400: "Something in the request is wrong; `param` names it.",
    401: "No credential, or one that does not work (any more).",
    403: "The role does not allow it, or the CSRF token is missing.",
    404: "It does not exist, or not in this organization.",
    409: "The state does not allow it.",
    413: "The body is larger than it may be.",
    429: "Too many tries; `Retry-After` says when to come back.",
    503: "Overload or maintenance; `Retry-After` says when to come back.",
}


_REFUSED = {
    status: ResponseSpec(ErrorBody, description=text, generate_examples=False) for status, text in REFUSALS.items()
}


def manage_router(signing: Signing) -> Router:
    """All routes behind one guard."""
    desk = signing.desk
    guarded: list[HTTPRouteHandler] = [
        *session_routes(signing),
        *organization_routes(desk),
        *key_routes(desk),
        *member_routes(desk),
        *money_routes(desk),
        *alert_routes(desk),
        *usage_routes(desk),
        *rule_routes(desk),
        *trial_routes(desk),
        *privacy_routes(desk),
        *transfer_routes(desk),
        *record_routes(desk),
        *invoice_routes(desk),
        *billing_data_routes(desk),
        *task_routes(desk),
        *month_routes(desk),
        *book_routes(desk),
    ]
    ways: list[SecurityRequirement] = [{"key": []}, {"bearer": []}, {"session": []}]
    for handler in guarded:
        handler.security = ways
    strangers = open_routes(signing)
    for handler in (*guarded, *strangers):
        handler.responses = _REFUSED
    for handler in strangers:
        handler.request_max_body_size = MOST_OF_STRANGERS
    handlers = [*guarded, *strangers]
    return Router(BASE, route_handlers=handlers, guards=[guard(desk)], exception_handlers=HANDLERS)


def description() -> OpenAPIConfig:
    """OpenAPI, at ``/api/v1/manage/openapi.json``."""
    return OpenAPIConfig(
        title="WonRouter management API",
        version="1",
        description="Keys, members, limits, alerts, words and usage of an organization. Amounts are text in won, exact.",
        path=BASE,
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        components=Components(
            security_schemes={
                "key": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
                "bearer": SecurityScheme(type="http", scheme="bearer"),
                "session": SecurityScheme(
                    type="apiKey",
                    name="wonrouter_session",
                    security_scheme_in="cookie",
                    description="Changes also need the session's token in X-CSRF-Token.",
                ),
            }
        ),
    )
