"""POST /chat/completions: the path of a request, from its key to its answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from api.admission import Call
from api.answer import Answer
from api.dialects import chat
from api.errors import NotConfigured, surface_of
from api.observed import seen
from api.parts import Parts
from api.rate_headers import rate_headers
from api.routes import BASES
from gateway.accounts.identity import Identity
from gateway.accounts.subjects import LONGEST_USER
from gateway.catalogue.model import Model, UnknownModel
from gateway.catalogue.snapshot import Snapshot
from gateway.errors import InvalidRequest, ModelNotFound, PermissionDenied
from gateway.wire.job import Surface

LONGEST_TITLE = 128
"""Characters of ``X-Title`` that are kept."""


def chat_route(parts: Parts) -> HTTPRouteHandler:
    """The handler, for both base paths."""

    @post([f"{base}/chat/completions" for base in BASES], status_code=200)
    async def complete(request: Request[Any, Any, Any]) -> ASGIApp:
        notes = seen(request.scope)
        surface = surface_of(request.scope["path"])

        identity, sha256 = await parts.identities.authenticate(request.scope["headers"])
        notes.org, notes.key = identity.org_id, identity.key_id

        raw = await request.body()
        body = chat.parse(raw, parts.settings.max_json_depth)

        raw = await parts.guardrails.check(identity, raw)

        snapshot = parts.catalogue.snapshot
        model = find_model(snapshot, identity, body.model or "", surface)
        notes.model = model.id
        call = make_call(snapshot, identity, surface, model, body, raw, title_of(request.scope["headers"]))

        parts.require_ears()
        admitted = await parts.admission.admit(snapshot, identity, sha256, call)

        placed = admitted.placed
        notes.request_id = placed.job
        reply = parts.relay.expect(placed.job, stream=call.stream)
        headers = rate_headers(admitted.rates, placed.remaining, placed.reset_ms)
        return Answer(parts.relay, reply, headers, surface)

    return complete


def find_model(snapshot: Snapshot, identity: Identity, asked: str, surface: Surface) -> Model:
    """The model meant by ``asked``. Raises ``ModelNotFound``, ``PermissionDenied`` (the key may not use it) and
    ``NotConfigured`` (nobody has configured a way to reach it)."""
    try:
        model = snapshot.resolve(asked, surface)
    except UnknownModel as exc:
        details = {"suggestions": exc.suggestions} if exc.suggestions else None
        shown = asked if len(asked) <= LONGEST_TITLE else asked[:LONGEST_TITLE] + "…"
        raise ModelNotFound(f"Model not found: {shown}", details=details) from exc
    if identity.models is not None and model.id not in identity.models:
        raise PermissionDenied(f"This API key may not use {model.id}.")
    if model.id not in snapshot.available:
        raise NotConfigured(
            f"No deployment is configured for {model.id}. Add one for it with `wonrouter deployments apply`, or set the "
            f"API key of its provider ({model.provider}).",
        )
    return model


def make_call(
    snapshot: Snapshot,
    identity: Identity,
    surface: Surface,
    model: Model,
    body: chat.ChatBody,
    raw: bytes,
    title: str | None,
) -> Call:
    """The call with everything decided that the client may decide. Raises ``InvalidRequest``."""
    if removed := chat.check_for(body, model):
        raw = chat.without(raw, removed)
    return Call(
        surface=surface,
        endpoint="chat",
        asked=body.model or "",
        models=[model, *fallbacks_of(snapshot, identity, model)],
        size=chat.measure(body),
        choices=body.n or 1,
        cap=body.max_completion_tokens or body.max_tokens or model.default_output_cap,
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        body=raw,
        title=title,
        user=body.user[:LONGEST_USER] if body.user else None,
        routing=routing_of(body),
    )


def fallbacks_of(snapshot: Snapshot, identity: Identity, model: Model) -> list[Model]:
    """Other models that may answer instead: the organisation's choice, within what the key may use."""
    found: list[Model] = []
    for name in identity.fallbacks.get(model.id, ()):
        other = snapshot.models.get(name)
        allowed = identity.models is None or name in identity.models
        if (
            other is not None
            and other is not model
            and other.state == "active"
            and allowed
            and name in snapshot.available
        ):
            found.append(other)
    return found


def routing_of(body: chat.ChatBody) -> bytes:
    """The client's ``provider`` object as JSON, or empty. Raises ``InvalidRequest`` where it is something else."""
    raw = bytes(body.provider)
    if raw in (b"", b"null"):
        return b""
    if not raw.startswith(b"{"):
        raise InvalidRequest("'provider' must be an object.", param="provider")
    return raw


def title_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """``X-Title``: the application's name, for breakdowns of the usage."""
    for name, value in headers:
        if name == b"x-title":
            try:
                text = value.decode()
            except UnicodeDecodeError:
                text = value.decode("latin-1")
            return "".join(c for c in text if c.isprintable())[:LONGEST_TITLE].strip() or None
    return None
