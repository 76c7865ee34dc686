"""Who changed what: the audit log, a page at a time."""

from __future__ import annotations

import functools
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from sqlalchemy import Connection

from api.console import figures
from api.console.forms import limits_text
from api.console.settings.layout import settings_page
from api.console.visit import visit_of
from api.console.wording import Lang, has, say
from api.manage.desk import Desk
from api.manage.pages import number_place, paged
from gateway.accounts import audit, people
from gateway.accounts.audit import Entry
from gateway.guardrails.kinds import KINDS

ENTRIES = 50
"""Of one page."""
ACTIONS = (
    "key.create", "key.set", "key.rotate", "key.revoke", "key.console", "member.invite", "member.uninvite", "member.join",
    "member.role", "member.remove", "org.create", "org.set", "words.add", "words.remove", "words.import",
    "personal_data.set", "moderation.set", "alerts.set", "alerts.rotate_secret", "alerts.test", "billing_profile.set",
    "topup.request", "session.begin", "subject.erase", "close.draft", "close.review", "close.finalise", "close.issue",
    "close.amend", "close.approve", "payment.book",
)  # fmt: skip
"""What the filter offers; each has a text of its own."""
SHOWN_OF_DIGEST = 12
"""Digits that tell two documents apart at a glance; the whole stands on the invoice."""
HIDDEN = 6
"""Details beyond this many are left to the management API."""


def audit_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handler."""

    @get("/settings/audit", action="audit.read")
    async def audit_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        visit = visit_of(request)
        start = number_place(visit.query.get("after"))
        wanted = visit.query.get("action", "")
        action = wanted if wanted in ACTIONS else None

        def work(connection: Connection) -> tuple[Sequence[Entry], dict[str, str]]:
            found = audit.page(connection, visit.org, before=start, most=ENTRIES + 1, action=action)
            ids = {text for entry in found for text in (entry.actor, entry.subject, entry.details.get("handed_to"))}
            return found, people.names(connection, visit.org, [name for name in ids if name and _is_id(name)])

        found, names = await desk.read(work)
        shown = paged(found, ENTRIES, lambda entry: str(entry.id))
        return settings_page(
            request, desk, "audit", entries=shown.data, next=shown.next, first=start is None, names=names,
            actions=ACTIONS, wanted=action or "",
            told=functools.partial(told, visit.lang, names),
        )  # fmt: skip

    return [audit_page]


def told(lang: Lang, names: Mapping[str, str], entry: Entry) -> list[tuple[str, str]]:
    """An entry's details as a person reads them: what was set, and where known what it was before.

    ``names``: of people, by id. What has no text of its own is shown as it is stored.
    """
    plain: list[tuple[str, str]] = []
    if entry.action.startswith("close."):
        plain.append((say(lang, "detail.month"), entry.subject.partition("/")[0]))
    elif entry.action == "payment.book":
        plain.append((say(lang, "detail.number"), entry.subject))
    for name, value in entry.details.items():
        if name.endswith("_was"):
            continue
        now = _value(lang, names, name, value)
        if f"{name}_was" in entry.details:
            before = _value(lang, names, name, entry.details[f"{name}_was"])
            if before == now:
                continue  # sent with the form, and as it was
            now = f"{before} → {now}"
        label = f"detail.{name}"
        plain.append((say(lang, label) if has(label) else name, now))
    return plain[:HIDDEN]


def _value(lang: Lang, names: Mapping[str, str], name: str, value: Any) -> str:
    if value is None or value in ({}, []):
        return say(lang, "detail.none")
    if name.endswith("_won") and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", str(value)):
        return figures.won(lang, str(value))
    if isinstance(value, list):
        return ", ".join(_word(lang, str(each)) for each in cast("list[Any]", value))
    if name == "model_limits" and isinstance(value, dict):
        return limits_text(cast("dict[str, dict[str, int]]", value)).replace("\n", "; ")
    if isinstance(value, dict):
        told = cast("dict[str, Any]", value)
        return ", ".join(f"{_word(lang, each)} {_word(lang, _plain(what))}" for each, what in told.items())
    text = _plain(value)
    if name == "digest":
        return text[:SHOWN_OF_DIGEST]
    chosen = f"detail.value_{text}"
    if name != "name" and has(chosen):
        return say(lang, chosen)
    return names.get(text, figures.grouped(value) if type(value) is int else text)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _word(lang: Lang, name: str) -> str:
    """A part of a document, a kind of personal data or what happens to it, by the name that its own page gives it."""
    if kind := KINDS.get(name):
        return kind.label_ko if lang == "ko" else kind.label_en
    for place in (f"settings.party_{name}", f"settings.action_{name}"):
        if has(place):
            return say(lang, place)
    return name


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
