"""What is known about a request while it is answered; routes fill it in, the wrapper around everything reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

SEEN = "wonrouter.seen"


class Seen:
    """What is known about a request, for its log line; routes fill it in."""

    __slots__ = ("answer", "blocked", "key", "masked", "model", "org", "request_id", "status", "word")

    def __init__(self) -> None:
        self.request_id = ""
        self.org = ""
        self.key = ""
        self.model = ""
        self.status = 0
        self.masked: dict[str, int] = {}
        """How many of each kind of personal data were masked in the request; ``answer``: in the answer."""
        self.answer: dict[str, int] = {}
        self.blocked: dict[str, int] = {}
        """The kinds for which the request was refused; ``word``: it was, for a forbidden word."""
        self.word = False

    def add(self, place: Literal["masked", "answer"], kinds: Mapping[str, int]) -> None:
        """Adds what was masked at a place."""
        counts: dict[str, int] = getattr(self, place)
        for kind, count in kinds.items():
            counts[kind] = counts.get(kind, 0) + count


def seen(scope: Any) -> Seen:
    """The request's notes."""
    return scope[SEEN]
