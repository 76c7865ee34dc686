"""The main menu: which page, under which text, for whom. A page stands in it where its reader may do its action."""

from __future__ import annotations

from typing import Literal, NamedTuple

from api.console.visit import PUBLIC
from gateway.accounts.roles import Action


class Entry(NamedTuple):
    """``path`` below the console's own; ``whole``: every page whose address begins so belongs to the entry."""

    path: str
    text: str
    action: Action | Literal["public"]
    whole: str = ""


NAVIGATION: tuple[Entry, ...] = (
    Entry("", "page.usage", "usage.read"),
    Entry("/models", "page.models", PUBLIC),
    Entry("/keys", "page.keys", "key.read"),
    Entry("/playground", "page.playground", "model.call"),
    Entry("/docs", "page.docs", PUBLIC, whole="/console/docs"),
    Entry("/settings", "page.settings", "session.self", whole="/console/settings"),
)
