"""POST /chat/completions: the path of a request, from its key to its answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from litestar.handlers import ASGIRouteHandler
from litestar.types import ASGIApp

from api.admission import Call, by_newest
from api.answer import Answer
from api.choosing import Choosing, routing_of
from api.dialects import chat
from api.errors import surface_of
from api.parts import Parts
from api.rate_headers import rate_headers
from api.routes.post import Body, post_route
from api.seen import seen
from gateway.accounts.identity import Identity
from gateway.accounts.subjects import LONGEST_USER
from gateway.catalogue.auto import Condition
from gateway.catalogue.snapshot import Snapshot
from gateway.credit.admission import Once
from gateway.wire.job import Surface

LONGEST_TITLE = 128
"""Characters of ``X-Title`` that are kept."""


def chat_route(parts: Parts) -> ASGIRouteHandler:
    """The handler, for both base paths."""

    async def complete(scope: Any, body: Body) -> ASGIApp:
        notes = seen(scope)
        identity, sha256 = await parts.authenticate(scope)
        notes.org, notes.key = identity.org_id, identity.key_id

        whole = await parts.pressure.take_in(identity.org_id, notes, body)

        async def respond(once: Once | None) -> ASGIApp:
            return await by_newest(identity, lambda newest: answer(scope, newest, sha256, whole, once))

        try:
            return await parts.idempotency.answer(scope, identity.org_id, identity.key_id, whole, respond)
        finally:
            parts.pressure.put_down(notes)

    async def answer(scope: Any, identity: Identity, sha256: bytes, raw: bytes, once: Once | None) -> ASGIApp:
        notes = seen(scope)
        notes.masked.clear()  # by an identity that is out of date
        surface = surface_of(scope["path"])

        async def checked() -> tuple[chat.ChatBody, bytes]:
            body = chat.parse(raw, parts.settings.max_json_depth)
            return body, await parts.guardrails.check(identity, raw, notes)

        # who waits for a moderation's verdict must not keep others from what takes milliseconds
        body, masked = await parts.pressure.long(identity.org_id, 0 if identity.moderation else len(raw), checked)

        snapshot = parts.catalogue.snapshot
        title = title_of(scope["headers"])
        call, why = make_call(snapshot, identity, surface, body, masked, title, parts.health.now())
        notes.model = call.models[0].id

        parts.require_ears()
        admitted = await parts.admission.admit(snapshot, identity, sha256, call, once)

        placed = admitted.placed
        notes.request_id = placed.job
        reply = parts.relay.expect(placed.job, stream=call.stream, background=call.background)
        headers = rate_headers(admitted)
        if why:
            headers = [*headers, (b"x-wonrouter-auto", why.encode())]
        return Answer(parts.relay, reply, headers, surface)

    return post_route("/chat/completions", parts.settings.max_body_bytes, complete)


def make_call(
    snapshot: Snapshot,
    identity: Identity,
    surface: Surface,
    body: chat.ChatBody,
    raw: bytes,
    title: str | None,
    health: Mapping[str, Condition],
) -> tuple[Call, str]:
    """The call with everything decided that the client may decide, and kr/auto's explanation where it chose.

    ``health``: how models are doing, for that choice.

    Raises ``InvalidRequest``, ``ModelNotFound``, ``PermissionDenied``, ``NotConfigured``.
    """
    routing, wishes = routing_of(body)
    size = chat.measure(body)
    chosen = Choosing(snapshot, identity, surface, size, wishes, health).models(body)
    model = chosen.models[0]
    if removed := chat.check_for(body, model):
        raw = chat.without(raw, removed)
    chat.check_room(body, size, chosen.models)
    call = Call(
        surface=surface,
        endpoint="chat",
        asked=body.model or "",
        models=chosen.models,
        size=size,
        choices=body.n or 1,
        cap=body.max_completion_tokens or body.max_tokens or model.default_output_cap,
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        body=raw,
        title=title,
        user=body.user[:LONGEST_USER] if body.user else None,
        routing=routing,
        background=body.service_tier == chat.FLEX,
    )
    return call, chosen.why


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
