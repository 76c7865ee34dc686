"""E-mail over SMTP. Without a server nothing is sent, and whoever wanted it sent is told."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from gateway.settings import Settings

TIMEOUT_S = 15.0
PORTS = {"smtp": 587, "smtps": 465}

MailError = (smtplib.SMTPException, OSError)
"""What a failed delivery raises."""


def configured(settings: Settings) -> bool:
    """Whether there is a server to hand mail to."""
    return bool(settings.smtp_url.get_secret_value())


def send_blocking(settings: Settings, to: str, subject: str, text: str) -> None:
    """Hands one message to the server. Raises one of ``MailError``, or ``ValueError`` for a URL that is none of SMTP's.

    ``smtps://`` speaks TLS from the start; ``smtp://`` goes over to TLS before it signs in, and must where a password
    is sent. ``smtp://`` without a user may stay plain: a relay on the same machine has no certificate.
    """
    url = urlsplit(settings.smtp_url.get_secret_value())
    if url.scheme not in PORTS or not url.hostname:
        raise ValueError("WONROUTER_SMTP_URL must look like smtp://user:password@host:587 or smtps://…")
    message = EmailMessage()
    message["From"] = settings.mail_from or f"wonrouter@{url.hostname}"
    message["To"] = to
    message["Subject"] = subject
    message.set_content(text)
    context = ssl.create_default_context()
    port = url.port or PORTS[url.scheme]
    if url.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(url.hostname, port, timeout=TIMEOUT_S, context=context)
    else:
        server = smtplib.SMTP(url.hostname, port, timeout=TIMEOUT_S)
    with server:
        if url.scheme == "smtp" and (url.username or server.has_extn("starttls")):
            server.starttls(context=context)
        if url.username:
            server.login(unquote(url.username), unquote(url.password or ""))
        server.send_message(message)


async def send(settings: Settings, to: str, subject: str, text: str) -> None:
    """The same, away from the event loop."""
    await asyncio.to_thread(send_blocking, settings, to, subject, text)
