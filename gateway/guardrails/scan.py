"""One pass over normalised text: every personal number and e-mail address in it, from left to right.

What precedes a place is seen as masked already, so masking a masked text changes nothing. ``scan`` looks at most
``BEHIND`` characters back and ``patterns.REACH`` ahead of any place, which is what lets a stream decide piece by piece.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import cache

from gateway.guardrails import patterns

BEHIND = 128
"""Characters of context kept before a piece of a stream: `context.WINDOW` and a data URL's header fit."""

_LOCAL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-"
_DOMAIN_RUN = re.compile(r"[A-Za-z0-9.\-]*")
# An address is one as soon as two letters follow a dot; the rest of the domain follows from there.
_RECOGNISED = re.compile(r"@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)*?\.[A-Za-z]{2}")
_PAYLOAD = re.compile(r"(?<=;base64,)[A-Za-z0-9+/=_\-]+")
_PAYLOAD_RUN = re.compile(r"[A-Za-z0-9+/=_\-]*")
_HEADER = re.compile(r"(?<![A-Za-z0-9._\-*])data:[A-Za-z0-9.+/;=_\-]{0,80};base64,\Z")
_HEADER_ROOM = 100

Span = tuple[str, int, int]
"""Kind, start, end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is looked for, compiled once per set of kinds."""

    gate: re.Pattern[str]
    """Found in every text that holds a number of the plan; the quicker search that most texts end at."""
    finder: re.Pattern[str]
    soft: tuple[str, ...]
    followers: tuple[str, ...]
    licence: bool
    email: bool
    without_context: Plan | None
    """The plan less the kinds that need a word near them, for texts without any such word."""


_BY_CONTEXT = frozenset({"bank_account", "health_insurance"})


def _gate(kinds: frozenset[str]) -> str:
    if kinds & _BY_CONTEXT:
        return "[0-9]"
    return "[0-9]{4}" if kinds & patterns.SOFT.keys() else "[0-9]{7}|[0-9]{3}[A-Z][0-9]{4}"


@cache
def plan_for(kinds: frozenset[str]) -> Plan:
    """The plan for a set of kinds; registration numbers and passports are always looked for."""
    soft = tuple(kind for kind in patterns.SOFT if kind in kinds)
    shapes = [patterns.SHAPES[name] for name in ("registration", "passport", *soft)]
    return Plan(
        gate=re.compile(_gate(kinds)),
        finder=re.compile("|".join(f"(?:{shape})" for shape in shapes)),
        soft=soft,
        followers=tuple(kind for kind in soft if kind != "driving_licence"),
        licence="driving_licence" in kinds,
        email="email" in kinds,
        without_context=plan_for(kinds - _BY_CONTEXT) if kinds & _BY_CONTEXT else None,
    )


def payloads(text: str, start: int, inside: bool) -> list[tuple[int, int]]:
    """Where base64 data of ``data:`` URLs lies from ``start`` on; ``inside``: the text before ended in such data."""
    spans: list[tuple[int, int]] = []
    if inside:
        run = _PAYLOAD_RUN.match(text, start)
        if run and run.end() > start:
            spans.append(run.span())
    if "base64," not in text:
        return spans
    for found in _PAYLOAD.finditer(text, start):
        # A header cannot begin within other data: of that, a stream remembers nothing.
        low = max(spans[-1][1] if spans else 0, found.start() - _HEADER_ROOM)
        if _HEADER.search(text[low : found.start()]):
            spans.append(found.span())
    return spans


def blank(text: str, spans: list[tuple[int, int]]) -> str:
    """The text with the spans made unreadable, at the same length."""
    parts: list[str] = []
    position = 0
    for start, end in spans:
        parts += (text[position:start], "\x00" * (end - start))
        position = end
    parts.append(text[position:])
    return "".join(parts)


def numbers(text: str, start: int, plan: Plan, today: date) -> list[Span]:
    """The personal numbers from ``start`` on, in order, none overlapping."""
    found: list[Span] = []
    search = plan.finder.search
    position = start
    while (candidate := search(text, position)) is not None:
        position = candidate.start()
        hit = _at(text, position, plan, today)
        if hit is None:
            position += 1
        while hit is not None:
            found.append(hit)
            position = hit[2]
            hit = _freed(text, position, plan, today)
    return found


def _at(text: str, position: int, plan: Plan, today: date) -> Span | None:
    if text[position] in "MSRGD":
        passport = patterns.PASSPORT.match(text, position)
        return ("passport", position, passport.end()) if passport else None
    person = patterns.registration(text, position, today)
    if person is not None and _stands_alone(text, person[1], plan):
        return person[0], position, person[1]
    for kind in plan.soft:
        end = patterns.SOFT[kind](text, position)
        if end is not None:
            return kind, position, end
    return None


def _stands_alone(text: str, end: int, plan: Plan) -> bool:
    """A hyphen and a digit after it make a registration number part of something longer, unless what follows is
    itself a personal number: once that is masked, this one would stand alone."""
    if text[end : end + 1] != "-" or not "0" <= text[end + 1 : end + 2] <= "9":
        return True
    return any(patterns.SOFT[kind](text, end + 1) is not None for kind in plan.followers)


def _freed(text: str, position: int, plan: Plan, today: date) -> Span | None:
    """A number that only the one just masked kept from being seen."""
    next_char = text[position : position + 1]
    if next_char and next_char in "MSRGD":
        passport = patterns.PASSPORT_FREED.match(text, position)
        return ("passport", position, passport.end()) if passport else None
    if next_char != "-":
        return None
    position += 1
    person = patterns.registration(text, position, today, freed=True)
    if person is not None and _stands_alone(text, person[1], plan):
        return person[0], position, person[1]
    licence = patterns.LICENCE_FREED.match(text, position) if plan.licence else None
    return ("driving_licence", position, licence.end()) if licence else None


def emails(view: str, start: int, inside: bool) -> list[Span]:
    """The e-mail addresses from ``start`` on, in a text whose numbers are blanked.

    ``inside``: the text before ended within an address. An address that takes more than ``patterns.REACH`` characters
    to recognise is masked from that far before the place where it is recognised.
    """
    found: list[Span] = []
    last = start
    if inside:
        last = domain_end(view, start)
        if last > start:
            found.append(("email", start, last))
    at = view.find("@", last)
    while at != -1:
        local = view[max(last, at - patterns.REACH) : at] if at > last else ""
        known = _RECOGNISED.match(view, at, at + patterns.REACH)
        length = len(local) - len(local.rstrip(_LOCAL))
        if known and length:
            first = max(at - length, known.end() - patterns.REACH)
            last = domain_end(view, known.end())
            found.append(("email", first, last))
            at = view.find("@", last)
        else:
            at = view.find("@", at + 1)
    return found


def domain_end(view: str, position: int) -> int:
    """Where the rest of a domain ends that reaches ``position``."""
    run = _DOMAIN_RUN.match(view, position)
    return run.end() if run else position


def masked_places(kind: str, start: int, end: int, text: str) -> list[int]:
    """The places in ``text`` that the mask of a match covers: letters and digits, but not the birth date of a
    registration number nor the letter of a passport."""
    keep = {"resident_number": 6, "foreigner_number": 6, "passport": 1}.get(kind, 0)
    return [place for place in range(start + keep, end) if text[place].isalnum()]


def undecided_from(text: str, found: list[Span]) -> tuple[int, list[Span]]:
    """Where the trailing run of digits starts that could still become a number, and the numbers that are decided.

    A number at the very end is not: the next character can make it part of something longer.
    """
    size = len(text)
    floor = max(0, size - patterns.REACH)
    tail = text[floor:]
    run = tail[len(tail.rstrip(_RUN)) :]
    hold = size - len(run.lstrip(_SEPARATORS))
    decided: list[Span] = []
    for span in found:
        if span[1] < floor or (span[2] <= hold and span[2] < size):
            decided.append(span)
        else:
            hold = min(hold, span[1])
    return hold, decided


def begins_from(masked: str, view: str, plan: Plan, email_open_at: int) -> int:
    """Where a trailing passport number or e-mail address may have begun.

    ``masked`` is the text with its decided numbers masked, ``view`` with numbers and addresses blanked;
    ``email_open_at`` is where an address begins that reaches the end of the text, or the text's length.
    """
    size = len(masked)
    passport = _PASSPORT_START.search(masked, max(0, size - 12))
    hold = passport.start() if passport else size
    if plan.email and email_open_at == size:
        tail = view[max(0, size - patterns.REACH) :]
        hold = min(hold, size - len(tail) + len(tail.rstrip(_LOCAL + "@")))
    return hold


_SEPARATORS = " .-()"
_RUN = "0123456789" + _SEPARATORS
_PASSPORT_START = re.compile(r"[MSRGD](?<![A-Za-z0-9][MSRGD])(?:[0-9]{0,8}|[0-9]{3}[A-Z][0-9]{0,4})\Z")
