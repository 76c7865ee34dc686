"""A test call to one deployment, on the normal path of a call: what it answered, how fast, and what it cost."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from typing import Any, cast

import msgspec
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api.admission import Admitted, Call, Outdated
from api.console.rendering import page
from api.console.visit import form, visit_of
from api.dialects import chat
from api.manage.desk import Desk
from gateway.accounts import own_calls
from gateway.catalogue.model import Model
from gateway.deployments import operating
from gateway.deployments.operating import Shown
from gateway.errors import CreditLimitExceeded, GatewayError, InvalidRequest, NotFound, ServiceUnavailable
from gateway.wire.frame import Final

PROMPT = "ping"
MOST_TOKENS = 16
PATIENCE_S = 60.0
"""Somebody waits at the page; a call that takes longer is cancelled."""
BEGINNING_S = 15.0
"""In which billing opens the window of the installation's own organisation, the first time."""
PAUSE_S = 0.25
SHOWN = 400
"""Characters of an answer."""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a test call. ``status`` as a client would see it; ``cost``: exact won, None where nothing was billed."""

    status: int
    took_ms: int
    said: str = ""
    code: str = ""
    cost: Decimal | None = None


def probe_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handler."""

    @post(
        "/operator/deployments/{deployment:str}/test", action="installation.finance", installation=True, status_code=200
    )
    async def test_deployment(request: Request[Any, Any, Any], deployment: FromPath[str]) -> Response[bytes]:
        visit = visit_of(request)
        await form(request)
        everything = await desk.read(operating.listed)
        found = next((each for each in everything if each.id == deployment), None)
        if found is None:
            raise NotFound(param="deployment")
        began = time.monotonic()
        try:
            probe = await _probe(desk, visit.person.person, found, began)
        except GatewayError as error:
            probe = Probe(status=error.status, took_ms=_since(began), code=error.public_code, said=error.message)
        return page(
            request, "operator_probe.html", settings=desk.settings, section="operator", shown=found, probe=probe,
            prompt=PROMPT, most=MOST_TOKENS,
        )  # fmt: skip

    return [test_deployment]


async def _probe(desk: Desk, person: str, found: Shown, began: float) -> Probe:
    model = desk.parts.catalogue.snapshot.models.get(found.model)
    if model is None:
        raise InvalidRequest(f"The catalogue has no model {found.model}.", param="model")
    call = ping(model, found.id)
    admitted = await _admitted(desk, person, call)
    reply = desk.parts.relay.expect(admitted.placed.job, stream=False)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not reply.ended:
                await reply.wake.wait()
    except TimeoutError:
        raise ServiceUnavailable(f"No answer within {PATIENCE_S:g} seconds.") from None
    finally:
        desk.parts.relay.close(reply)
    if reply.final is None:
        raise reply.error or ServiceUnavailable()
    return read(reply.final, _since(began))


async def _admitted(desk: Desk, person: str, call: Call) -> Admitted:
    """The placed call; the first one of all waits until there is a window with credit."""
    parts = desk.parts
    sha256, new = await desk.change(person, lambda change: own_calls.ensure(change, person))
    until = time.monotonic() + BEGINNING_S
    while True:
        parts.require_ears()
        identity = await parts.identities.of(sha256)
        try:
            return await parts.admission.admit(parts.catalogue.snapshot, identity, sha256, call)
        except Outdated:
            continue
        except (CreditLimitExceeded, ServiceUnavailable):
            if not new or time.monotonic() > until:
                raise
        await asyncio.sleep(PAUSE_S)


def ping(model: Model, deployment: str) -> Call:
    """The call: a few tokens, of this model, at this deployment and no other, drained or not."""
    raw = msgspec.json.encode(
        {"model": model.id, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": MOST_TOKENS}
    )
    body = chat.parse(raw, 8)
    if removed := chat.check_for(body, model):
        raw = chat.without(raw, removed)
    return Call(
        surface="bizrouter", endpoint="chat", asked=model.id, models=[model], size=chat.measure(body), choices=1,
        cap=MOST_TOKENS, stream=False, include_usage=False, body=raw, title="operator test",
        routing=msgspec.json.encode([deployment]),
    )  # fmt: skip


def read(final: Final, took_ms: int) -> Probe:
    """What the answer says."""
    try:
        told: Any = msgspec.json.decode(final.body)
    except msgspec.DecodeError:
        told = None
    fields: dict[str, Any] = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
    if final.status >= 400:
        error: Any = fields.get("error")
        inner: dict[str, Any] = cast("dict[str, Any]", error) if isinstance(error, dict) else {}
        code, said = inner.get("code"), str(inner.get("message") or final.body.decode(errors="replace"))
        return Probe(status=final.status, took_ms=took_ms, said=said[:SHOWN], code=str(code or ""))
    choices = cast("list[dict[str, Any]]", fields.get("choices") or [{}])
    message = cast("dict[str, Any]", choices[0].get("message") or {})
    usage = cast("dict[str, Any]", fields.get("usage") or {})
    said, cost = message.get("content") or "", usage.get("cost_krw")
    return Probe(
        status=final.status,
        took_ms=took_ms,
        said=str(said)[:SHOWN],
        cost=None if cost is None else Decimal(str(cost)),
    )


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
