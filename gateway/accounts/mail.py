"""What people are written: invitations and links to a new password, in Korean and English."""

from __future__ import annotations

import logging
from typing import Literal

from gateway import mail
from gateway.settings import Settings

_log = logging.getLogger(__name__)

Purpose = Literal["invitation", "reset"]
_PAGES: dict[Purpose, str] = {"invitation": "/console/invitation", "reset": "/console/password"}


def possible(settings: Settings) -> bool:
    """Whether a link can be mailed: by a server, and to our own address, which nobody's request may name."""
    return mail.configured(settings) and bool(settings.public_url)


def link(settings: Settings, purpose: Purpose, token: str) -> str:
    """Where the console takes the token. It stands behind ``#``, so no server writes it into its log."""
    return settings.public_url.rstrip("/") + path(purpose, token)


def path(purpose: Purpose, token: str) -> str:
    """The same without scheme and host."""
    return f"{_PAGES[purpose]}#{token}"


async def send_invitation(settings: Settings, to: str, organisation: str, where: str) -> bool:
    """Mails an invitation. False where none can be sent, or the server refused: the link has to be passed on by hand."""
    text = (
        f"{organisation}의 WonRouter에 초대되었습니다. 7일 안에 아래 주소에서 수락해 주세요.\n"
        f"You are invited to {organisation} on WonRouter. Accept within seven days:\n\n{where}\n"
    )
    return await _send(settings, to, f"[WonRouter] {_one_line(organisation)} 초대 / Invitation", text)


async def send_reset(settings: Settings, to: str, where: str) -> bool:
    """Mails a link to a new password. False as above."""
    text = (
        "아래 주소에서 1시간 안에 새 비밀번호를 정해 주세요. 요청하지 않으셨다면 무시하셔도 됩니다.\n"
        f"Choose a new password within the hour. If you did not ask for this, ignore it:\n\n{where}\n"
    )
    return await _send(settings, to, "[WonRouter] 비밀번호 재설정 / New password", text)


async def _send(settings: Settings, to: str, subject: str, text: str) -> bool:
    if not possible(settings):
        return False
    try:
        await mail.send(settings, to, subject, text)
    except mail.MailError as exc:
        _log.warning("mail was not taken: %s", type(exc).__name__)
        return False
    return True


def _one_line(text: str) -> str:
    return " ".join(text.split())
