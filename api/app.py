"""Everything mounted, on one page."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from litestar import Litestar, Router

from api.console.mount import console_router, handle_for
from api.errors import handle
from api.manage.desk import Desk
from api.manage.mount import description, manage_router
from api.manage.signing import Signing
from api.observed import Observed
from api.parts import Parts, Sources
from api.routes.account import account_routes
from api.routes.chat import chat_route
from api.routes.completions import completions_route
from api.routes.description import description_route
from api.routes.health import health_routes
from api.routes.models import models_routes
from gateway.settings import Settings


def create_app(settings: Settings, sources: Sources) -> Observed:
    """The ASGI application. Its parts start and stop with the server's lifespan."""
    parts = Parts(settings, sources)
    # one for both: passwords are hashed two at a time in a process, whichever page they were typed into
    signing = None if sources.engine is None else Signing(Desk(parts, sources.engine))

    @asynccontextmanager
    async def running(_app: Litestar) -> AsyncGenerator[None]:
        await parts.start()
        try:
            yield
        finally:
            await parts.aclose()

    app = Litestar(
        route_handlers=[
            Router(
                "/",
                route_handlers=[
                    chat_route(parts),
                    completions_route(parts),
                    *models_routes(parts),
                    *account_routes(parts),
                    *health_routes(parts),
                    description_route(),
                ],
                include_in_schema=False,  # they are OpenAI's, described in its own words
            ),
            *([] if signing is None else [manage_router(signing), console_router(signing)]),
        ],
        exception_handlers={Exception: handle if signing is None else handle_for(signing)},
        lifespan=[running],
        request_max_body_size=settings.max_body_bytes,
        openapi_config=description(),
        logging_config=None,
    )
    return Observed(app, parts)
