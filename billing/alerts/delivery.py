"""Delivering messages: claimed in PostgreSQL, tried, and tried again for most of a day.

A try is claimed by moving ``next_at`` beyond the longest that it can take, so a process that dies in it only delays
the message. A receiver may therefore see a message twice; its id tells.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import hmac
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, text

from billing import metrics
from billing.alerts.message import letter
from gateway import mail
from gateway.accounts import alerts
from gateway.http import ForbiddenAddress, HttpError, UpstreamTransport
from gateway.seal import Unsealable
from gateway.settings import Settings

log = structlog.get_logger(__name__)

BACKOFF_S = (30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800)
"""Waits after each failed try: a restart of the receiver costs half a minute, its bad night (16 hours) costs nothing."""
AT_ONCE = 20
CLAIM_S = 180
"""Above what one try can take: the HTTP time limit, or the SMTP server's few answers at 15 s each."""
CONNECT_S = 5.0
KEPT_DAYS = 90
"""Deliveries are kept for a quarter: long enough to ask a receiver's operator about."""

_CLAIM = """
UPDATE alert_delivery SET next_at = now() + :claim * interval '1 second'
WHERE id IN (
    SELECT id FROM alert_delivery WHERE state = 'waiting' AND next_at <= now()
    ORDER BY next_at LIMIT :most FOR UPDATE SKIP LOCKED
)
RETURNING id, org, channel, target, payload, created_at, jsonb_array_length(attempts) AS tried
"""
_NOTE = """
UPDATE alert_delivery SET state = :state, attempts = attempts || CAST(:attempt AS jsonb),
    next_at = now() + :wait * interval '1 second', finished_at = CASE WHEN :state = 'waiting' THEN NULL ELSE now() END
WHERE id = :id AND state = 'waiting'
"""


class Failed(Exception):
    """A try that failed before there was an HTTP status; the text is for the organisation to read."""


def deliver(connection: Connection, settings: Settings) -> int:
    """Tries what is due, up to ``AT_ONCE`` messages side by side. Returns how many were tried. Commits by itself."""
    with connection.begin():
        due = connection.execute(text(_CLAIM), {"claim": CLAIM_S, "most": AT_ONCE}).all()
        if not due:
            return 0
        webhooks = {
            row.org: row
            for row in connection.execute(
                text("SELECT org, webhook_url, webhook_secret FROM alert_settings WHERE org = ANY(:orgs)"),
                {"orgs": [row.org for row in due]},
            )
        }
    tries = asyncio.run(_try_all(due, webhooks, settings))
    with connection.begin():
        for row, attempt in zip(due, tries, strict=True):
            _note(connection, row, attempt)
    return len(due)


def forget_old(connection: Connection) -> None:
    """Deletes deliveries that ended long ago; the alerts themselves stay."""
    connection.execute(
        text("DELETE FROM alert_delivery WHERE finished_at < now() - :days * interval '1 day'"), {"days": KEPT_DAYS}
    )


def _note(connection: Connection, row: Any, attempt: dict[str, Any]) -> None:
    status: int | None = attempt["status"]
    tried: int = row.tried
    if attempt["error"] is None and (status is None or 200 <= status < 300):
        state, wait = "delivered", 0
    elif tried < len(BACKOFF_S):
        state, wait = "waiting", BACKOFF_S[tried]
    else:
        state, wait = "failed", 0
    values = {"id": row.id, "state": state, "wait": wait, "attempt": msgspec.json.encode([attempt]).decode()}
    connection.execute(text(_NOTE), values)
    metrics.ALERT_TRIES.labels(row.channel, state).inc()
    if state == "failed":
        log.warning("alert_not_delivered", org=str(row.org), delivery=str(row.id), channel=row.channel)


async def _try_all(due: Sequence[Any], webhooks: dict[Any, Any], settings: Settings) -> list[dict[str, Any]]:
    transport = UpstreamTransport(connect_timeout_s=CONNECT_S, allow_private=settings.allow_private_webhooks)
    try:
        return await asyncio.gather(*(_try(row, webhooks.get(row.org), transport, settings) for row in due))
    finally:
        await transport.aclose()


async def _try(row: Any, webhook: Any, transport: UpstreamTransport, settings: Settings) -> dict[str, Any]:
    began, at = time.monotonic(), dt.datetime.now(dt.UTC)
    status: int | None = None
    error: str | None = None
    try:
        if row.channel == "webhook":
            status = await _post(row, webhook, transport, settings)
        else:
            await _mail(row, settings)
    except Failed as failure:
        error = str(failure)
    return {"at": at.isoformat(), "status": status, "error": error, "ms": int((time.monotonic() - began) * 1000)}


async def _post(row: Any, webhook: Any, transport: UpstreamTransport, settings: Settings) -> int:
    """Sends the signed body. Returns the receiver's status, whatever it is; its answer's body is not read."""
    if webhook is None or webhook.webhook_url != row.target:
        raise Failed("the webhook was changed or removed")
    try:
        secrets = alerts.opened_secrets(webhook.webhook_secret, row.org, settings.sealer(alerts.PURPOSE))
    except Unsealable as exc:
        raise Failed("the webhook's secret does not open: rotate it") from exc
    body = msgspec.json.encode(row.payload)
    moment = int(time.time())
    signed = "".join(f",v1={signature(secret, moment, body)}" for secret in secrets)
    headers = {
        "content-type": "application/json",
        "user-agent": "WonRouter",
        "wonrouter-delivery": str(row.id),
        "wonrouter-signature": f"t={moment}{signed}",
    }
    try:
        async with asyncio.timeout(settings.webhook_timeout_s):
            response = await transport.send("POST", row.target, headers, body)
            response.close()
    except ForbiddenAddress as refused:
        raise Failed(f"refused: {refused}") from refused
    except HttpError as failure:
        raise Failed(type(failure).__name__) from failure
    return response.status


def signature(secret: bytes, moment: int, body: bytes) -> str:
    """HMAC-SHA256 in hex over ``{moment}.{body}``; ``moment`` is Unix time in seconds, so that old ones can be refused."""
    return hmac.new(secret, b"%d." % moment + body, hashlib.sha256).hexdigest()


async def _mail(row: Any, settings: Settings) -> None:
    if not mail.configured(settings):
        raise Failed("no mail server is set")
    subject, words = letter(row.payload, settings.public_url)
    try:
        await mail.send(settings, row.target, subject, words)
    except (*mail.MailError, ValueError) as failure:
        raise Failed(type(failure).__name__) from failure  # its text may repeat what the server was told
