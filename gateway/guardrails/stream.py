"""Masking of text that arrives in pieces: answers, and JSON of tool calls.

Only a trailing run that could still grow into a match is held back, at most ``patterns.REACH`` characters as they
read; the result is the same for every way the text can be cut.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date

from gateway.guardrails import patterns, scan
from gateway.guardrails.normalise import STABLE, Reading, read_json, read_text
from gateway.guardrails.personal import Policy, today_in_seoul

_NOTEWORTHY = re.compile(f"[0-9MSRGD]|[^{STABLE}]")
_NUMBER_CHARS = "0123456789+-.eE"
_WHOLE_NUMBER = re.compile(r"-?[0-9]+(?:\.0+)?")
_ANY_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_STRING_MARKS = re.compile(r"\\.|\"", re.DOTALL)
# An escape that the end of a piece may have cut, or a high surrogate whose other half may follow.
_CUT_ESCAPE = re.compile(
    r"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD][c-fC-F]?[0-9a-fA-F]?)?)?)?)\Z"
)


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str


class StreamMasker:
    """Masks one text of an answer (content, reasoning, or one tool call's arguments of one choice) as it streams.

    Args:
        policy: the organisation's; a blocked kind is masked, for an answer cannot be refused any more.
        json_text: the text is JSON: escapes are seen through, and a bare number that is personal data becomes a
            string, so that what was valid JSON stays so.
        today: the day by which a birth date lies in the future; the day in Seoul unless given.
    """

    def __init__(self, policy: Policy, *, json_text: bool = False, today: date | None = None) -> None:
        self._plan = policy.plan
        self._json = json_text
        self._today = today or today_in_seoul()
        self._held = ""
        self._before = ""
        self._before_view = ""
        self._in_data = False
        self._in_email = False
        self._in_string = False
        self.found: Counter[str] = Counter()
        """How many of each kind were masked so far."""

    @property
    def held(self) -> int:
        """How many characters are held back."""
        return len(self._held)

    def feed(self, piece: str) -> str:
        """Takes the next piece; returns what may be sent on."""
        if not self._held and self._harmless(piece):
            self._before = (self._before + piece)[-scan.BEHIND :]
            self._before_view = (self._before_view + piece)[-scan.BEHIND :]
            return piece
        self._held += piece
        return self._advance(last=False)

    def end(self) -> str:
        """The stream is over: returns the rest."""
        return self._advance(last=True)

    def drop(self) -> None:
        """Forgets what is held back: it was not sent, and the text goes on from what was."""
        self._held = ""

    def _harmless(self, piece: str) -> bool:
        """Whether nothing in the piece can be or begin a match: most pieces of most answers."""
        if self._json or self._plan.email or self._in_data:
            return False
        return _NOTEWORTHY.search(piece) is None and "base64," not in self._before[-7:] + piece

    def whole(self, text: str) -> str:
        """``feed`` of the last piece and ``end`` in one."""
        self._held += text
        return self._advance(last=True)

    def _advance(self, *, last: bool) -> str:
        usable = len(self._held)
        if self._json and not last:
            usable = _whole_escapes(self._held)
        if usable == 0:
            return ""
        source = self._held[:usable]
        reading = read_json(source) if self._json else read_text(source)
        start = len(self._before)
        text = self._before + reading.text
        data = scan.payloads(text, start, self._in_data)
        if data:
            text = scan.blank(text, data)
        numbers = scan.numbers(text, start, self._plan, self._today)
        hold = len(text)
        if not last:
            hold, numbers = scan.undecided_from(text, numbers)
        masked = _masked(text, numbers)
        view = self._before_view + text[start:]
        if numbers:
            view = scan.blank(view, [(first, end) for _, first, end in numbers])
        emails = scan.emails(view, start, self._in_email) if self._plan.email else []
        cut = len(text)
        if not last:
            cut = self._cut(text, masked, view, hold, numbers, emails, reading)
        place, source_cut = reading.cut(cut - start)
        cut = start + place
        # An address of which a part is sent already was counted then.
        continued = emails[0] if self._in_email and scan.domain_end(view, start) > start else None
        spans = sorted(numbers + emails, key=lambda span: span[1])
        edits = self._edits(reading, text, start, cut, spans, continued)
        sent = _apply(source[:source_cut], edits)
        self._remember(source[:source_cut], masked, view, cut, data, emails)
        self._held = self._held[source_cut:]
        return sent

    def _cut(
        self,
        text: str,
        masked: str,
        view: str,
        hold: int,
        numbers: list[scan.Span],
        emails: list[scan.Span],
        reading: Reading,
    ) -> int:
        """How far the text is decided."""
        size, start = len(text), len(self._before)
        reaching = emails[-1][1] if emails and emails[-1][2] == size else size
        blanked = scan.blank(view, [(first, end) for _, first, end in emails]) if emails else view
        hold = max(start, min(hold, scan.begins_from(masked, blanked, self._plan, reaching)))
        if self._json:
            hold = self._before_number(text, hold, start, reading)
        # A decided number is sent whole: it began further back than any match has to wait.
        return max([hold, *(end for _, first, end in numbers if first < hold < end)])

    def _before_number(self, text: str, hold: int, start: int, reading: Reading) -> int:
        """A JSON number is sent on whole or not at all, for it may need quotes."""
        floor = max(start, len(text) - patterns.REACH)
        low = hold
        while low > floor and text[low - 1] in _NUMBER_CHARS:
            low -= 1
        if low == hold:
            return hold
        marks = _StringMarks(reading.source, self._in_string)
        return hold if marks.inside(reading.cut(low - start)[1]) else low

    def _edits(
        self,
        reading: Reading,
        text: str,
        start: int,
        cut: int,
        spans: list[scan.Span],
        continued: scan.Span | None,
    ) -> list[_Edit]:
        edits: list[_Edit] = []
        marks = _StringMarks(reading.source, self._in_string)
        for kind, first, end in spans:
            if first >= cut:
                break
            if self._json and not marks.inside(reading.span(first - start)[0]):
                token = _number_around(text, first, end)
                if token is not None and token[0] >= start:
                    edits += self._number(reading, text, start, token, (kind, first, end))
                    continue
            if (kind, first, end) != continued:
                self.found[kind] += 1
            for place in scan.masked_places(kind, first, min(end, cut), text):
                low, high = reading.span(place - start)
                edits.append(_Edit(low, high, "*"))
        return edits

    def _number(
        self,
        reading: Reading,
        text: str,
        start: int,
        token: tuple[int, int],
        span: scan.Span,
    ) -> list[_Edit]:
        """The edit of a JSON number that holds a match: a whole number becomes a string, another is a quantity."""
        first, end = token
        if not _WHOLE_NUMBER.fullmatch(text, first, end):
            return []
        kind = span[0]
        self.found[kind] += 1
        covered = set(scan.masked_places(kind, span[1], span[2], text))
        shown = "".join("*" if place in covered else text[place] for place in range(first, end))
        return [
            _Edit(
                reading.span(first - start)[0],
                reading.span(end - 1 - start)[1],
                f'"{shown}"',
            )
        ]

    def _string_open(self, source: str) -> bool:
        return _StringMarks(source, self._in_string).inside(len(source))

    def _remember(
        self,
        sent: str,
        masked: str,
        view: str,
        cut: int,
        data: list[tuple[int, int]],
        emails: list[scan.Span],
    ) -> None:
        if self._json:
            self._in_string = self._string_open(sent)
        self._in_data = any(first < cut <= end for first, end in data) if cut > len(self._before) else self._in_data
        if cut > len(self._before):
            self._in_email = any(first < cut <= end for _, first, end in emails)
        if emails:
            view = scan.blank(view, [(first, end) for _, first, end in emails])
        self._before = masked[max(0, cut - scan.BEHIND) : cut]
        self._before_view = view[max(0, cut - scan.BEHIND) : cut]


class BytesMasker:
    """The same for UTF-8 bytes, wherever they are cut, also within a character."""

    def __init__(self, masker: StreamMasker) -> None:
        self._masker = masker
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, piece: bytes) -> bytes:
        """Takes the next bytes; returns what may be sent on."""
        return self._masker.feed(self._decoder.decode(piece)).encode()

    def end(self) -> bytes:
        """The stream is over: returns the rest."""
        rest = self._decoder.decode(b"", final=True)
        return (self._masker.feed(rest) + self._masker.end()).encode()


def mask_json(text: str, policy: Policy, *, today: date | None = None) -> tuple[str, dict[str, int]]:
    """The text of a JSON document with personal data masked in its strings, keys and numbers, and how many of each
    kind. Everything else stays as it was written, and valid JSON stays valid."""
    masker = StreamMasker(policy, json_text=True, today=today)
    return masker.whole(text), dict(masker.found)


class _StringMarks:
    """Answers, for growing positions, whether a place in JSON text lies within a string."""

    def __init__(self, source: str, inside: bool) -> None:
        self._marks = _STRING_MARKS.finditer(source)
        self._inside = inside
        self._next = next(self._marks, None)

    def inside(self, position: int) -> bool:
        while self._next is not None and self._next.start() < position:
            if self._next.group() == '"':
                self._inside = not self._inside
            self._next = next(self._marks, None)
        return self._inside


def _whole_escapes(text: str) -> int:
    """How much of JSON text is free of an escape that its end may have cut."""
    if "\\" not in text[-12:]:
        return len(text)
    found = _CUT_ESCAPE.search(text)
    return found.start(1) if found else len(text)


def _number_around(text: str, first: int, end: int) -> tuple[int, int] | None:
    """The JSON number around a match outside of strings, or None where it is no number as a hold could contain."""
    low, high = max(0, first - patterns.REACH), min(len(text), end + patterns.REACH)
    head, tail = text[low:first], text[end:high]
    left = first - (len(head) - len(head.rstrip(_NUMBER_CHARS)))
    right = end + (len(tail) - len(tail.lstrip(_NUMBER_CHARS)))
    if right - left > patterns.REACH or not _ANY_NUMBER.fullmatch(text, left, right):
        return None
    return left, right


def _masked(text: str, spans: list[scan.Span]) -> str:
    if not spans:
        return text
    chars = list(text)
    for kind, first, end in spans:
        for place in scan.masked_places(kind, first, end, text):
            chars[place] = "*"
    return "".join(chars)


def _apply(source: str, edits: list[_Edit]) -> str:
    if not edits:
        return source
    parts: list[str] = []
    position = 0
    for edit in edits:
        if edit.start < position:
            continue
        parts += (source[position : edit.start], edit.text)
        position = edit.end
    parts.append(source[position:])
    return "".join(parts)
