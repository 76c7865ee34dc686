"""The job: everything a worker needs to answer one call, frozen at admission."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.wire import keys

Surface = Literal["bizrouter", "krouter"]
Endpoint = Literal["chat", "completions"]
Policy = Literal["strict", "optimistic"]


class JobTerms(msgspec.Struct, frozen=True, array_like=True):
    """The price and exchange rate in force at admission; decimals as text (USD per 1M tokens, won per USD)."""

    price_id: str
    rate_id: str
    input_usd: str
    output_usd: str
    threshold: int | None
    over_input_usd: str | None
    over_output_usd: str | None
    rate: str


class Job(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed under ``wr:b:{job}``. Fields are only ever appended, so that old and new code stand side by side.

    ``models`` are the permitted candidates in order of preference, each with its ``terms``; ``body`` is the client's
    JSON after the guardrails, byte for byte where they changed nothing. ``routing`` is the client's ``provider``
    object as JSON, or the list of deployments that an operator tests, or empty. ``input_bound`` is the upper estimate of
    input tokens that the hold was made with.
    ``background``: the client asked for the tier ``flex``, and is told that it got it.
    ``mask_output`` names the kinds of personal data that are masked in the answer; empty: it is not masked.
    """

    org: str
    key: str
    surface: Surface
    endpoint: Endpoint
    asked: str
    models: list[str]
    terms: dict[str, JobTerms]
    catalogue: str
    stream: bool
    include_usage: bool
    policy: Policy
    body: bytes
    input_bound: int
    title: str | None = None
    user: str | None = None
    routing: bytes = b""
    trace: str | None = None
    domestic_only: bool = False
    no_training: bool = False
    mask_output: list[str] = msgspec.field(default_factory=list[str])
    background: bool = False


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Job)


def encode_job(job: Job) -> bytes:
    """The job as msgpack, to be sealed."""
    return _encoder.encode(job)


def decode_job(raw: bytes) -> Job:
    """The job from msgpack. Raises ``msgspec.DecodeError``."""
    return _decoder.decode(raw)


def celery_message(job: str = "", message: str = "") -> str:
    """The Celery message (protocol 2 in kombu's Redis envelope) that names a job, or says that some wait.

    It is only a hint; the claim decides who runs a job. The body is plain JSON text: kombu decodes base64 only where
    ``body_encoding`` says so. ``message`` is the message's own id, by default the job's.
    """
    name = message or job
    body = msgspec.json.encode([[job], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    envelope = {
        "body": body.decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": keys.COMPLETE_TASK,
            "id": name,
            "root_id": name,
            "parent_id": None,
            "group": None,
            "argsrepr": "()",
            "kwargsrepr": "{}",
            "retries": 0,
            "eta": None,
            "expires": None,
            "timelimit": [None, None],
            "ignore_result": True,
        },
        "properties": {
            "correlation_id": name,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": keys.CALL_QUEUE},
            "priority": 0,
            "body_encoding": None,
            "delivery_tag": name,
        },
    }
    return msgspec.json.encode(envelope).decode()


CALL_MESSAGE = celery_message(message="{ID}")
"""Says that jobs wait. The scripts put an id in for ``{ID}``."""
