"""GET /models and /models/{id}."""

from __future__ import annotations

import time
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from api.errors import surface_of
from api.parts import Parts
from api.routes import BASES
from api.seen import seen
from gateway.accounts.identity import Identity
from gateway.catalogue.model import NoPrice, NoRate, UnknownModel
from gateway.errors import ModelNotFound, ServiceUnavailable


def models_routes(parts: Parts) -> list[HTTPRouteHandler]:
    """The handlers, for both base paths."""

    @get([f"{base}/models" for base in BASES])
    async def list_models(request: Request[Any, Any, Any]) -> Response[bytes]:
        await identify(parts, request)
        try:
            return as_json(parts.catalogue.listing())
        except NoRate as exc:
            raise ServiceUnavailable("No exchange rate is in force.") from exc

    # The SDKs send "openai%2Fgpt-4o", people "openai/gpt-4o": both arrive decoded, as a path.
    @get([f"{base}/models/{{model_id:path}}" for base in BASES])
    async def show_model(request: Request[Any, Any, Any]) -> Response[bytes]:
        await identify(parts, request)
        asked = str(request.path_params["model_id"]).strip("/")
        snapshot = parts.catalogue.snapshot
        try:
            model = snapshot.resolve(asked, surface_of(request.scope["path"]))
            return as_json(snapshot.entry(model.id, int(time.time() * 1000)))
        except (UnknownModel, NoPrice) as exc:
            suggestions: list[str] = getattr(exc, "suggestions", [])
            raise ModelNotFound(
                f"Model not found: {asked}", details={"suggestions": suggestions} if suggestions else None
            ) from exc
        except NoRate as exc:
            raise ServiceUnavailable("No exchange rate is in force.") from exc

    return [list_models, show_model]


async def identify(parts: Parts, request: Request[Any, Any, Any]) -> Identity:
    """Who asks. Raises ``InvalidApiKey``, ``ServiceUnavailable``."""
    identity, _ = await parts.authenticate(request.scope)
    notes = seen(request.scope)
    notes.org, notes.key = identity.org_id, identity.key_id
    return identity


def as_json(body: bytes) -> Response[bytes]:
    """Ready JSON as an answer."""
    return Response(body, media_type="application/json")
