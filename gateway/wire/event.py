"""The usage event: the one record of what a job used and what it costs, from the worker to the ledger.

It names no prompt, no answer and no person. Decimals travel as text: USD per 1M tokens, won per USD, won.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["complete", "cancelled", "failed", "expired", "voided"]


class Tokens(msgspec.Struct, frozen=True, omit_defaults=True):
    """Quantities used. ``prompt`` includes cached and cache writes; ``completion`` includes reasoning and image."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    image: int = 0
    search: int = 0


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one model contributed to the answer, at the price frozen at admission.

    ``won`` is exact: ``(prompt x input_usd + completion x output_usd) x rate / 1,000,000``. The input is charged in
    one part only; a continuation by another model adds a part with ``prompt`` 0.
    """

    model: str
    price_id: str
    rate_id: str
    prompt: int
    completion: int
    input_usd: str
    output_usd: str
    rate: str
    tier: Literal["base", "long"]
    won: str


class Attempt(msgspec.Struct, omit_defaults=True):
    """One call to a provider. Times in milliseconds since 1970; ``status`` is the provider's HTTP status or 0.

    ``tokens`` are what the provider counted, or for an answer that broke off what we saw of it: our cost. ``won`` is
    what of the charge falls on this attempt, exact; all attempts' together are the job's.
    """

    n: int
    epoch: int
    model: str
    deployment: str
    provider: str
    client_request_id: str
    started_ms: int
    upstream_id: str | None = None
    status: int = 0
    reason: str = ""
    first_ms: int | None = None
    ended_ms: int | None = None
    tokens: Tokens = Tokens()
    billed: bool = False
    won: str = "0"


class UsageEvent(msgspec.Struct, omit_defaults=True):
    """One job's usage. Admission writes it with nothing used (the row of a job that is voided); the worker fills it.

    ``micro`` is what the credit window was charged (micro-won, rounded up once); ``won`` is the exact charge.
    ``loss_won`` is what a strict hold did not cover and the customer is not charged.
    """

    job: str
    org: str
    key: str
    asked: str
    surface: str
    endpoint: str
    stream: bool
    v: int = 1
    title: str | None = None
    user: str | None = None
    model: str = ""
    provider: str = ""
    deployment: str = ""
    outcome: Outcome = "voided"
    finish_reason: str | None = None
    error: str | None = None
    estimated: bool = False
    tokens: Tokens = Tokens()
    parts: list[Part] = msgspec.field(default_factory=list[Part])
    won: str = "0"
    micro: int = 0
    loss_won: str = "0"
    attempts: list[Attempt] = msgspec.field(default_factory=list[Attempt])
    first_token_ms: int | None = None
    duration_ms: int | None = None
    trace: str | None = None


_encoder = msgspec.msgpack.Encoder()
_event = msgspec.msgpack.Decoder(UsageEvent)
_attempts = msgspec.msgpack.Decoder(list[Attempt])


def encode_event(event: UsageEvent) -> bytes:
    """The event as it lies in the usage stream."""
    return _encoder.encode(event)


def decode_event(raw: bytes) -> UsageEvent:
    """Raises ``msgspec.DecodeError``."""
    return _event.decode(raw)


def encode_attempts(attempts: list[Attempt]) -> bytes:
    """The attempts so far, as the job's hash keeps them."""
    return _encoder.encode(attempts)


def decode_attempts(raw: bytes) -> list[Attempt]:
    """Raises ``msgspec.DecodeError``."""
    return _attempts.decode(raw) if raw else []
