"""Usage events as workers write them."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from gateway.money import exact, micro_ceil, won_text
from gateway.wire import ids
from gateway.wire.event import Attempt, Part, Tokens, UsageEvent


def part(
    prompt: int = 1000,
    completion: int = 500,
    input_usd: str = "2.50",
    output_usd: str = "10.00",
    rate: str = "1350",
    *,
    model: str = "openai/gpt-4o",
) -> Part:
    """A part at its exact price; by default gpt-4o, 1,000 in and 500 out at 1,350 won: 10.125 won."""
    won = (prompt * exact(input_usd) + completion * exact(output_usd)) * exact(rate) / Decimal(1_000_000)
    return Part(
        model=model, price_id="p1", rate_id="r1", prompt=prompt, completion=completion, input_usd=input_usd,
        output_usd=output_usd, rate=rate, tier="base", won=won_text(won),
    )  # fmt: skip


def attempt(n: int = 1, epoch: int = 1, **changes: Any) -> Attempt:
    """One call to a provider, billed."""
    fields: dict[str, Any] = {
        "n": n, "epoch": epoch, "model": "openai/gpt-4o", "deployment": "d1", "provider": "openai",
        "client_request_id": f"c{epoch}-{n}", "started_ms": 1, "upstream_id": f"up-{epoch}-{n}", "status": 200,
        "billed": True,
    } | changes  # fmt: skip
    return Attempt(**fields)


def job_id(milliseconds: int | None = None) -> str:
    """A job id as the admission script makes it; now, if nothing is said."""
    a, b = ids.random_parts()
    return f"{int(time.time() * 1000) if milliseconds is None else milliseconds:012x}7{a}{b}"


def usage_event(org: str, key: str, **changes: Any) -> UsageEvent:
    """A complete call, charged for its parts unless ``won`` says otherwise."""
    parts: list[Part] = changes.pop("parts", None) or [part()]
    won = sum((exact(p.won) for p in parts), Decimal(0))
    fields: dict[str, Any] = {
        "job": job_id(), "org": org, "key": key, "asked": "gpt-4o", "surface": "bizrouter", "endpoint": "chat",
        "stream": False, "model": parts[0].model, "provider": "openai", "deployment": "d1", "outcome": "complete",
        "finish_reason": "stop", "parts": parts, "won": won_text(won), "micro": micro_ceil(won),
        "tokens": Tokens(prompt=sum(p.prompt for p in parts), completion=sum(p.completion for p in parts)),
        "attempts": [attempt()], "first_token_ms": 120, "duration_ms": 900,
    }  # fmt: skip
    return UsageEvent(**(fields | changes))
