"""What the settings pages share: their menu, the word that something is done, errors beside the form."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from api.console import BASE
from api.console.rendering import explain, go, page
from api.console.visit import visit_of
from api.manage.desk import Desk
from gateway.accounts.roles import Action
from gateway.errors import GatewayError

PLACE = f"{BASE}/settings"
Section = Literal[
    "members", "limits", "alerts", "personal_data", "words", "transfers", "billing", "audit", "account"
]  # fmt: skip


class Entry(NamedTuple):
    """A page of the settings, and what its reader must be allowed."""

    section: Section
    action: Action


SECTIONS: tuple[Entry, ...] = (
    Entry("members", "member.read"),
    Entry("limits", "organization.read"),
    Entry("alerts", "alerts.read"),
    Entry("personal_data", "personal_data.read"),
    Entry("words", "words.read"),
    Entry("transfers", "privacy.read"),
    Entry("billing", "billing_profile.read"),
    Entry("audit", "audit.read"),
    Entry("account", "session.self"),
)
DONE = ("saved", "removed", "withdrawn", "tested", "added", "replaced")
"""What a page may say after its form was sent."""


def settings_page(
    request: Request[Any, Any, Any],
    desk: Desk,
    section: Section,
    *,
    error: GatewayError | None = None,
    template: str = "",
    **values: Any,
) -> Response[bytes]:
    """One page, with what went wrong or was done on top."""
    visit = visit_of(request)
    done = visit.query.get("done", "")
    return page(
        request,
        template or f"settings_{section}.html",
        settings=desk.settings,
        status=200 if error is None else error.status,
        section=section,
        sections=[entry for entry in SECTIONS if visit.may(entry.action)],
        place=PLACE,
        here_place=f"{PLACE}/{section}",
        problem="" if error is None else explain(visit, error),
        done=done if done in DONE and error is None else "",
        **values,
    )


def back(section: Section, done: str) -> Response[Any]:
    """To a page of the settings, which says what was done."""
    return go(f"{PLACE}/{section}?done={done}")


def first_route() -> HTTPRouteHandler:
    """``/settings`` itself: the first page that its reader may see."""

    @get("/settings", action="session.self")
    async def first_page(request: Request[Any, Any, Any]) -> Response[Any]:
        visit = visit_of(request)
        section = next(entry.section for entry in SECTIONS if visit.may(entry.action))
        return go(f"{PLACE}/{section}")

    return first_page
