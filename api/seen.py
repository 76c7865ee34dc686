"""What is known about a request while it is answered; routes fill it in, the wrapper around everything reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from api.metrics import Outcome
from api.reply import Reply

SEEN = "wonrouter.seen"


class Seen:
    """What is known about a request, for its log line; routes fill it in."""

    __slots__ = (
        "answer", "blocked", "counted", "ended", "first_s", "held", "key", "masked", "model", "org", "request_id",
        "status", "word",
    )  # fmt: skip

    def __init__(self) -> None:
        self.request_id = ""
        self.org = ""
        self.key = ""
        self.model = ""
        self.status = 0
        self.ended: Outcome | None = None
        """How an answer ended that had begun well: ``broken`` or ``left``. None: as its status says."""
        self.first_s = -1.0
        """Seconds from admission to the first frame with content; below 0 where there was none."""
        self.masked: dict[str, int] = {}
        """How many of each kind of personal data were masked in the request; ``answer``: in the answer."""
        self.answer: dict[str, int] = {}
        self.blocked: dict[str, int] = {}
        """The kinds for which the request was refused; ``word``: it was, for a forbidden word."""
        self.word = False
        self.counted = False
        """``api.pressure`` has counted the call; ``held``: bytes of its body that count."""
        self.held = 0

    def add(self, place: Literal["masked", "answer"], kinds: Mapping[str, int]) -> None:
        """Adds what was masked at a place."""
        counts: dict[str, int] = getattr(self, place)
        for kind, count in kinds.items():
            counts[kind] = counts.get(kind, 0) + count

    def answer_of(self, reply: Reply) -> None:
        """Takes down what a closed reply tells: what was masked, when its first frame came, how it ended."""
        if reply.first_at is not None:
            self.first_s = max(self.first_s, reply.first_at - reply.placed_at)
        final = reply.final
        if final is not None and final.masked:
            self.add("answer", final.masked)
        if reply.error is not None or (final is not None and final.status >= 400):
            self.ended = None if self.status >= 400 else "broken"
        elif reply.left and final is None:
            self.ended = "left"


def seen(scope: Any) -> Seen:
    """The request's notes."""
    return scope[SEEN]
