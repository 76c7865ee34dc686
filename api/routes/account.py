"""GET /generation, /credits and /key: what a call cost, what is left, and what the key may do. Amounts are text: exact."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from redis.exceptions import RedisError

from api.parts import Parts
from api.routes import BASES
from api.routes.models import as_json, identify
from api.sources import SourceAway
from gateway.accounts.identity import NONE
from gateway.errors import InvalidRequest, NotFound, ServiceUnavailable
from gateway.money import EXACT, won_text
from gateway.wire import ids, keys

SETTLED_WITHIN_S = 2.0
"""A receipt asked for right after its answer is waited for: settlement is a moment behind."""
SETTLED_PAUSE_S = 0.1


def account_routes(parts: Parts) -> list[HTTPRouteHandler]:
    """The handlers, for both base paths."""

    @get([f"{base}/generation" for base in BASES])
    async def show_generation(request: Request[Any, Any, Any]) -> Response[bytes]:
        identity = await identify(parts, request)
        asked = request.query_params.get("id", "")
        job = ids.from_public(asked)
        if job is None:
            raise InvalidRequest("'id' must be the id of an answer.", param="id")
        return as_json(msgspec.json.encode({"data": await receipt(parts, identity.org_id, job)}))

    @get([f"{base}/credits" for base in BASES])
    async def show_credits(request: Request[Any, Any, Any]) -> Response[bytes]:
        identity = await identify(parts, request)
        month = ids.month_of(parts.admission.now_ms())
        balance, held, spent = await window(parts, keys.org(identity.org_id), "bal", "held", f"m:{month}")
        data: dict[str, Any] = {
            "organization": identity.org_name,
            "currency": "KRW",
            "prepaid": identity.prepaid,
            "balance_krw": won(balance),
            "held_krw": won(held),
            "available_krw": won(balance - held) if identity.prepaid else None,
            "month": f"{month[:4]}-{month[4:]}",
            "month_spent_krw": won(spent),
            "month_limit_krw": won_or_none(identity.month_limit_micro),
        }
        return as_json(msgspec.json.encode({"data": data}))

    @get([f"{base}/key" for base in BASES])
    async def show_key(request: Request[Any, Any, Any]) -> Response[bytes]:
        identity = await identify(parts, request)
        spent, held = await window(parts, keys.key(identity.key_id), "spent", "held")
        limit = identity.key_limit_micro
        data: dict[str, Any] = {
            "id": identity.key_id,
            "name": identity.key_name,
            "organization": identity.org_name,
            "role": identity.role,
            "spent_krw": won(spent),
            "limit_krw": won_or_none(limit),
            "remaining_krw": None if limit == NONE else won(max(0, limit - spent - held)),
            "requests_per_minute": none_or(identity.key_rpm),
            "concurrent_requests": none_or(identity.key_slots),
            "expires_ms": identity.expires_ms,
            "models": None if identity.models is None else sorted(identity.models),
        }
        return as_json(msgspec.json.encode({"data": data}))

    return [show_generation, show_credits, show_key]


async def receipt(parts: Parts, org_id: str, job: str) -> dict[str, Any]:
    """The receipt of a settled call. Raises ``NotFound``, ``ServiceUnavailable``."""
    loop = asyncio.get_running_loop()
    until = loop.time() + SETTLED_WITHIN_S
    recent = ids.milliseconds(job) > parts.admission.now_ms() - 3_600_000
    while True:
        try:
            found = await parts.sources.receipts.receipt(org_id, job)
        except SourceAway as exc:
            raise ServiceUnavailable() from exc
        if found is not None:
            return found
        if not recent or loop.time() >= until:
            raise NotFound("No such generation, or it is not settled yet.")
        await asyncio.sleep(SETTLED_PAUSE_S)


async def window(parts: Parts, name: str, *fields: str) -> list[int]:
    """Counters of the credit window, in micro-won. Raises ``ServiceUnavailable``."""
    try:
        raw: list[bytes | None] = await parts.redis.execute_command("HMGET", name, *fields)
    except (RedisError, OSError) as exc:
        raise ServiceUnavailable() from exc
    return [int(value or 0) for value in raw]


def won(micro: int) -> str:
    """Micro-won as won, every digit."""
    return won_text(Decimal(micro).scaleb(-6, EXACT))


def won_or_none(micro: int) -> str | None:
    """A limit in won, or None where there is none."""
    return None if micro == NONE else won(micro)


def none_or(limit: int) -> int | None:
    """A limit, or None where there is none."""
    return None if limit == NONE else limit
