"""POST /completions: the old API over any chat model. Every prompt is a job of its own."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar.handlers import ASGIRouteHandler
from litestar.types import ASGIApp

from api.admission import Call, Outdated, by_newest
from api.dialects import chat, completions
from api.errors import Headers, surface_of
from api.merged import Merged
from api.parts import Parts
from api.rate_headers import rate_headers
from api.reply import Reply
from api.routes.chat import make_call, title_of
from api.routes.post import Body, post_route
from api.seen import seen
from gateway.accounts.identity import Identity
from gateway.credit.admission import Once
from gateway.errors import ServiceUnavailable


def completions_route(parts: Parts) -> ASGIRouteHandler:
    """The handler, for both base paths."""

    async def complete(scope: Any, body: Body) -> ASGIApp:
        notes = seen(scope)
        identity, sha256 = await parts.authenticate(scope)
        notes.org, notes.key = identity.org_id, identity.key_id

        whole = await parts.pressure.take_in(identity.org_id, notes, body)

        async def respond(once: Once | None) -> ASGIApp:
            return await by_newest(identity, lambda newest: _answer(parts, scope, newest, sha256, whole, once))

        try:
            return await parts.idempotency.answer(scope, identity.org_id, identity.key_id, whole, respond)
        finally:
            parts.pressure.put_down(notes)

    return post_route("/completions", parts.settings.max_body_bytes, complete)


async def _answer(
    parts: Parts, scope: Any, identity: Identity, sha256: bytes, whole: bytes, once: Once | None
) -> ASGIApp:
    """Places a job for every prompt; all of them or none."""
    notes, surface = seen(scope), surface_of(scope["path"])
    notes.masked.clear()  # by an identity that is out of date
    depth = parts.settings.max_json_depth
    snapshot, title = parts.catalogue.snapshot, title_of(scope["headers"])
    calls: list[Call] = []

    async def checked() -> tuple[completions.Wanted, str]:
        wanted, why = completions.parse(whole, depth), ""
        for raw in wanted.bodies:
            masked = await parts.guardrails.check(identity, raw, notes)
            body = chat.parse(masked, depth)
            call, why = make_call(snapshot, identity, surface, body, masked, title, parts.health.now())
            calls.append(msgspec.structs.replace(call, endpoint="completions"))
        return wanted, why

    # who waits for a moderation's verdict must not keep others from what takes milliseconds
    wanted, why = await parts.pressure.long(identity.org_id, 0 if identity.moderation else len(whole), checked)
    notes.model = calls[0].models[0].id

    parts.require_ears()
    replies: list[Reply] = []
    headers: Headers = []
    try:
        for call in calls:
            admitted = await parts.admission.admit(snapshot, identity, sha256, call, once)
            replies.append(parts.relay.expect(admitted.placed.job, stream=call.stream, background=call.background))
            headers = rate_headers(admitted)
    except BaseException as error:
        for reply in replies:  # all prompts or none
            if isinstance(error, Outdated):
                reply.fail(ServiceUnavailable())  # nobody is told, and nothing is charged for it
            parts.relay.close(reply)
        raise
    notes.request_id = replies[0].job
    if why:
        headers = [*headers, (b"x-wonrouter-auto", why.encode())]
    return Merged(parts.relay, replies, wanted, calls[0].include_usage, headers, surface)
