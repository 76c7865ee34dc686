"""Personal data in a text: what is found, and the text with it masked, under an organisation's policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from gateway.guardrails import scan
from gateway.guardrails.context import speaks_of_any
from gateway.guardrails.kinds import ACTIONS, KINDS, Action
from gateway.guardrails.normalise import Reading, read_text

_SEOUL = timedelta(hours=9)


@dataclass(frozen=True, slots=True)
class Policy:
    """What an organisation wants for each kind; ``Policy.of`` makes it."""

    actions: Mapping[str, Action]
    plan: scan.Plan = field(repr=False)

    @staticmethod
    def of(choices: Mapping[str, str] | None = None) -> Policy:
        """The defaults with the organisation's ``choices`` (kind -> mask, block or off) over them.

        Raises:
            ValueError: an unknown kind or action, or ``off`` for a kind that the law wants masked. A policy that
                cannot be understood must not pass for one that allows.
        """
        return _policy(tuple(sorted((choices or {}).items())))

    def action(self, kind: str) -> Action:
        """What happens to ``kind``."""
        return self.actions[kind]


@lru_cache(maxsize=1024)
def _policy(choices: tuple[tuple[str, str], ...]) -> Policy:
    actions: dict[str, Action] = {name: kind.default for name, kind in KINDS.items()}
    for name, choice in choices:
        kind = KINDS.get(name)
        if kind is None:
            raise ValueError(f"unknown kind of personal data: {name}")
        action = next((known for known in ACTIONS if known == choice), None)
        if action is None:
            raise ValueError(f"{name}: {choice!r} is none of mask, block, off")
        if action not in kind.choices:
            raise ValueError(f"{name} cannot be switched off")
        actions[name] = action
    kinds = frozenset(name for name, action in actions.items() if action != "off")
    return Policy(actions=actions, plan=scan.plan_for(kinds))


@dataclass(frozen=True, slots=True)
class Match:
    """A piece of personal data: where it lies in the original text, and what stands there once it is masked."""

    kind: str
    start: int
    end: int
    mask: str


def today_in_seoul() -> date:
    """The day by which a birth date lies in the future."""
    return (datetime.now(UTC) + _SEOUL).date()


def find(text: str, policy: Policy, *, before: str = "", today: date | None = None) -> list[Match]:
    """The personal data in ``text``, in order, none overlapping; kinds that are off are not looked for.

    ``before`` is text that stands before it and is only looked at for context (a JSON key). ``today`` is the day in
    Seoul unless given.
    """
    return _found(read_text(text), policy.plan, before, today)


def mask(text: str, policy: Policy, *, before: str = "", today: date | None = None) -> tuple[str, list[Match]]:
    """The text with every match masked in place, and the matches. A blocked kind is masked too.

    The same length, and the same object when there is nothing to mask.
    """
    matches = find(text, policy, before=before, today=today)
    return (put(text, matches), matches) if matches else (text, matches)


def put(text: str, matches: list[Match]) -> str:
    """The text with each match's mask in its place."""
    parts: list[str] = []
    position = 0
    for match in matches:
        parts += (text[position : match.start], match.mask)
        position = match.end
    parts.append(text[position:])
    return "".join(parts)


def counts(matches: list[Match]) -> dict[str, int]:
    """How many of each kind, for the audit."""
    return dict(Counter(match.kind for match in matches))


def _found(reading: Reading, plan: scan.Plan, before: str, today: date | None) -> list[Match]:
    text, start = reading.text, 0
    if before:
        context = read_text(before).text[-scan.BEHIND :]
        text, start = context + text, len(context)
    data = scan.payloads(text, start, inside=False)
    if data:
        text = scan.blank(text, data)
    found: list[scan.Span] = []
    if plan.gate.search(text, start) is not None:
        numbers = plan
        if plan.without_context is not None and not speaks_of_any(text):
            numbers = plan.without_context
        found = scan.numbers(text, start, numbers, today or today_in_seoul())
    if plan.email and "@" in text:
        view = scan.blank(text, [(first, last) for _, first, last in found])
        found = sorted(found + scan.emails(view, start, inside=False), key=lambda span: span[1])
    return [_match(reading, text, start, span) for span in found]


def _match(reading: Reading, text: str, offset: int, span: scan.Span) -> Match:
    kind, first, last = span
    start = reading.span(first - offset)[0]
    end = reading.span(last - 1 - offset)[1]
    chars = list(reading.source[start:end])
    for place in scan.masked_places(kind, first, last, text):
        for index in range(*reading.span(place - offset)):
            chars[index - start] = "*"
    return Match(kind, start, end, "".join(chars))
