"""What would happen to a text or a request body: for people who try a policy. Pure; nothing is kept of what they try."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from gateway.errors import GatewayError, InternalError
from gateway.guardrails.body import Walk
from gateway.guardrails.kinds import KINDS, Action
from gateway.guardrails.personal import Match, Policy
from gateway.guardrails.words import WordList

LONGEST_TRIAL = 200_000
"""Characters of a text, and bytes of a body as JSON: more than a person tries, and checked within a fraction of a
second."""

Outcome = Literal["passes", "masked", "refused"]


class Hit(msgspec.Struct, frozen=True):
    """Personal data of one kind at one place. ``action`` ``off``: it is recognised and leaves as it is.

    ``places``: from which character to which (the end not included) in that text; empty within JSON.
    """

    location: str
    kind: str
    label: str
    label_en: str
    action: Action
    count: int
    places: list[tuple[int, int]]


class Trial(msgspec.Struct, frozen=True):
    """What would leave (``text`` or ``body``, whichever was tried; with ``refused`` nothing would), what was found, and
    the forbidden words, as the organisation wrote them; ``words`` is null for those who may not see the list."""

    outcome: Outcome
    text: str | None
    body: dict[str, Any] | None
    hits: list[Hit]
    word_count: int
    words: list[str] | None


def try_text(text: str, policy: Policy, words: WordList | None = None) -> Trial:
    """A text as if it were a message's. Raises as ``try_body`` does."""
    tried = try_body({"text": text}, policy, words)
    return msgspec.structs.replace(tried, text=(tried.body or {})["text"], body=None)


def try_body(body: dict[str, Any], policy: Policy, words: WordList | None = None) -> Trial:
    """A decoded OpenAI request body; it is not modified.

    Raises:
        InvalidRequest: nested too deep.
        InternalError: it could not be checked; as with a real request the cause is not chained, it could quote it.
    """
    real = _Trying(policy, words if words is not None and len(words) else None)
    every = _Trying(Policy.of(dict.fromkeys(KINDS, "mask")), None)
    try:
        checked = real.fields(body, "", 0)
        every.fields(body, "", 0)
    except GatewayError:
        raise
    except Exception:  # noqa: BLE001 - its message could quote what was tried
        raise InternalError from None
    hits = _hits(real, policy)
    hits += [hit for hit in _hits(every, policy) if hit.action == "off"]
    refused = bool(real.forbidden) or any(hit.action == "block" for hit in hits)
    outcome: Outcome = "refused" if refused else "masked" if checked is not body else "passes"
    found = list(real.forbidden)
    return Trial(outcome, None, checked, sorted(hits, key=_order), len(found), found)


@dataclass
class _Trying(Walk):
    """Goes the same way and refuses nothing."""

    forbidden: dict[str, None] = field(default_factory=dict[str, None])
    places: dict[tuple[str, str], list[tuple[int, int]]] = field(
        default_factory=dict[tuple[str, str], list[tuple[int, int]]]
    )

    def look_for_words(self, text: str, location: str) -> None:
        del location
        if self.words is not None:
            self.forbidden.update(dict.fromkeys(self.words.every(text)))

    def meet(self, location: str, kinds: dict[str, int], _matches: Sequence[Match] = ()) -> None:
        self.found.update(Counter({(location, kind): count for kind, count in kinds.items()}))
        for match in _matches:
            self.places.setdefault((location, match.kind), []).append((match.start, match.end))


def _hits(walk: _Trying, policy: Policy) -> list[Hit]:
    return [
        Hit(
            location, kind, KINDS[kind].label_ko, KINDS[kind].label_en, policy.action(kind), count,
            walk.places.get((location, kind), []),
        )
        for (location, kind), count in walk.found.items()
    ]  # fmt: skip


def _order(hit: Hit) -> tuple[str, int]:
    return hit.location, hit.places[0][0] if hit.places else 0
