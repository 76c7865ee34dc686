"""The job: everything a worker needs to answer one call, frozen at admission."""

from __future__ import annotations

from typing import Literal

import msgspec

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
    object as JSON, or empty. ``input_bound`` is the upper estimate of input tokens that the hold was made with.
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


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Job)


def encode_job(job: Job) -> bytes:
    """The job as msgpack, to be sealed."""
    return _encoder.encode(job)


def decode_job(raw: bytes) -> Job:
    """The job from msgpack. Raises ``msgspec.DecodeError``."""
    return _decoder.decode(raw)


def celery_message(task: str, queue: str, job_placeholder: str = "{JOB}") -> str:
    """The Celery message (protocol 2 in kombu's Redis envelope) that hints at a job.

    The admission script replaces ``job_placeholder`` by the job's id and pushes the text on the queue, so that a
    hold exists if and only if a message does. The body is plain JSON text: kombu decodes base64 only where
    ``body_encoding`` says so.
    """
    body = msgspec.json.encode(
        [[job_placeholder], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    )
    message = {
        "body": body.decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": job_placeholder,
            "root_id": job_placeholder,
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
            "correlation_id": job_placeholder,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": None,
            "delivery_tag": job_placeholder,
        },
    }
    return msgspec.json.encode(message).decode()
