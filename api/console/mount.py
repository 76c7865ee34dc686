"""The console put together: its pages behind one guard, and what stands in for a page that failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Request, Response, Router
from redis.exceptions import RedisError
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.console import BASE
from api.console.company_sign_in import company_routes
from api.console.dashboard import dashboard_routes
from api.console.documentation import documentation_routes
from api.console.finance.files import file_routes
from api.console.finance.months import month_routes
from api.console.joining import joining_routes
from api.console.keys import key_routes
from api.console.operator.dead_letters import dead_letter_routes
from api.console.operator.deployments import deployment_routes
from api.console.operator.organizations import organization_pages
from api.console.operator.overview import overview_routes
from api.console.operator.prices import rate_routes
from api.console.operator.probing import probe_routes
from api.console.organisation_choice import choice_routes
from api.console.playground import playground_routes
from api.console.price_table import price_routes
from api.console.rendering import failed
from api.console.settings.routes import settings_routes
from api.console.sign_in import sign_in_routes
from api.console.static_files import static_routes
from api.console.tasks import task_routes
from api.console.visit import guard
from api.errors import handle
from api.manage.desk import UNSTORABLE
from api.manage.signing import Signing
from api.sources import SourceAway
from gateway.errors import ServiceUnavailable
from gateway.settings import Settings

MOST_BYTES = 64 * 1024
"""Of a form: none of ours comes near it."""
AWAY = (OperationalError, InterfaceError, PoolTimeout, RedisError, OSError, SourceAway)

Handler = Callable[[Request[Any, Any, Any], Exception], Response[Any]]


def console_router(signing: Signing) -> Router:
    """All pages."""
    desk = signing.desk
    return Router(
        BASE,
        route_handlers=[
            *static_routes(),
            *sign_in_routes(signing),
            *company_routes(signing),
            *joining_routes(signing),
            *choice_routes(signing),
            *dashboard_routes(desk),
            *price_routes(desk),
            *key_routes(desk),
            *task_routes(desk),
            *month_routes(desk),
            *file_routes(desk),
            *overview_routes(desk),
            *deployment_routes(desk),
            *probe_routes(desk),
            *rate_routes(desk),
            *organization_pages(desk),
            *dead_letter_routes(desk),
            *playground_routes(desk),
            *documentation_routes(desk),
            *settings_routes(signing),
        ],
        guards=[guard(desk)],
        exception_handlers={Exception: _handler(desk.settings)},
        request_max_body_size=MOST_BYTES,
        include_in_schema=False,
    )


def handle_for(signing: Signing) -> Handler:
    """The application's exception handler: a page for an address below ours that does not exist, else the API's."""
    as_page = _handler(signing.desk.settings)

    def either(request: Request[Any, Any, Any], exc: Exception) -> Response[Any]:
        path: str = request.scope["path"]
        return as_page(request, exc) if path == BASE or path.startswith(f"{BASE}/") else handle(request, exc)

    return either


def _handler(settings: Settings) -> Handler:
    def answer(request: Request[Any, Any, Any], exc: Exception) -> Response[Any]:
        if isinstance(exc, DataError):
            return failed(request, UNSTORABLE, settings)
        return failed(request, ServiceUnavailable() if isinstance(exc, AWAY) else exc, settings)

    return answer
