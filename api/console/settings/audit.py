"""Who changed what: the audit log, a page at a time."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from sqlalchemy import Connection

from api.console.settings.layout import settings_page
from api.console.visit import visit_of
from api.manage.desk import Desk
from api.manage.pages import number_place, paged
from gateway.accounts import audit, people
from gateway.accounts.audit import Entry

ENTRIES = 50
"""Of one page."""
ACTIONS = (
    "key.create", "key.set", "key.rotate", "key.revoke", "key.console", "member.invite", "member.uninvite", "member.join",
    "member.role", "member.remove", "org.create", "org.set", "words.add", "words.remove", "words.import",
    "personal_data.set", "alerts.set", "alerts.rotate_secret", "alerts.test", "billing_profile.set", "topup.request",
    "session.begin", "subject.erase",
)  # fmt: skip
"""What the filter offers; each has a text of its own."""
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
            ids = {entry.actor for entry in found} | {entry.subject for entry in found}
            return found, people.names(connection, visit.org, [name for name in ids if _is_id(name)])

        found, names = await desk.read(work)
        shown = paged(found, ENTRIES, lambda entry: str(entry.id))
        return settings_page(
            request, desk, "audit", entries=shown.data, next=shown.next, first=start is None, names=names,
            actions=ACTIONS, wanted=action or "", told=told,
        )  # fmt: skip

    return [audit_page]


def told(entry: Entry) -> list[tuple[str, str]]:
    """An entry's details as a person can read them."""
    plain = [(name, _value(value)) for name, value in entry.details.items() if not name.endswith("_was")]
    return plain[:HIDDEN]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
