"""Texts as the checks read them: look-alike characters folded, with the way back to the original.

Full-width digits, exotic dashes and invisible characters hide a number from a pattern but not from a model. Each
character is folded by itself (NFKC, dashes, other scripts' digits; invisible ones vanish), so a stream can be read
piece by piece, and a match found in the reading can be masked in the original, in place.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable

_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff"
)
INVISIBLE = re.compile(f"[{_INVISIBLE}]+")
"""Runs of characters that take no room on the page (Unicode's default ignorables)."""

_DASHES = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u3161\u1173")

# Characters that every fold leaves as they are. Compatibility jamo are among them: NFKC would only change their code.
STABLE = (
    "\\x00-\\x7f\u00b7\u0400-\u047f\u2018\u2019\u201c\u201d\u2022\u203b\u2190-\u21ff\u2500-\u257f\u25a0-\u25ff\u2605"
    "\u2606\u3001-\u3003\u3008-\u3011\u3041-\u3096\u30a1-\u30fa\u3131-\u3160\u3162\u3163\u4e00-\u9fff\uac00-\ud7a3"
    "\U0001f300-\U0001f64f"
)
_UNUSUAL = re.compile(f"[^{STABLE}]")
_UNUSUAL_JSON = re.compile(
    "\\\\u[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\\\u[0-9a-fA-F]{4}|\\\\[^u]|" + f"[^{STABLE}]",
    re.DOTALL,
)
_SHORT_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


class _Folds(dict[str, str]):
    """Character -> what it reads as; filled as characters are met, at most one entry per character there is."""

    def __missing__(self, char: str) -> str:
        if INVISIBLE.match(char):
            folded = ""
        elif char in _DASHES:
            folded = "-"
        elif "\u3131" <= char <= "\u318e":
            folded = char
        else:
            folded = "".join(_plain(part) for part in unicodedata.normalize("NFKC", char))
        self[char] = folded
        return folded


def _plain(char: str) -> str:
    if char in _DASHES:
        return "-"
    if INVISIBLE.match(char):
        return ""
    digit = unicodedata.decimal(char, None)
    return char if digit is None else str(digit)


_folds = _Folds()


def _unescaped(token: str) -> str:
    """One JSON escape, or one character, as it reads. A lone surrogate reads as the replacement character."""
    if token[0] != "\\":
        return _folds[token]
    if token[1] != "u":
        return _SHORT_ESCAPES.get(token[1], token[1])
    if len(token) == 12:
        high, low = int(token[2:6], 16), int(token[8:], 16)
        return _folds[chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))]
    code = int(token[2:6], 16)
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else _folds[chr(code)]


class Reading:
    """A text as the checks read it. ``text`` is what is searched; ``span`` leads back to the source."""

    __slots__ = ("_sources", "_starts", "_widths", "source", "text")

    def __init__(
        self,
        source: str,
        text: str,
        starts: list[int] | None,
        sources: list[int],
        widths: list[int],
    ) -> None:
        self.source = source
        self.text = text
        # Pieces of the reading: where each starts in it and in the source. Width 0: character by character;
        # otherwise the whole piece came from that many characters of the source.
        self._starts = starts
        self._sources = sources
        self._widths = widths

    def span(self, index: int) -> tuple[int, int]:
        """Start and end in the source of the character that was read as ``text[index]``."""
        if self._starts is None:
            return index, index + 1
        piece = bisect_right(self._starts, index) - 1
        start, width = self._sources[piece], self._widths[piece]
        if width:
            return start, start + width
        start += index - self._starts[piece]
        return start, start + 1

    def cut(self, index: int) -> tuple[int, int]:
        """The last place at or before ``index`` where reading and source can both be cut: (in reading, in source)."""
        if index >= len(self.text):
            return len(self.text), len(self.source)
        if self._starts is None:
            return index, index
        piece = bisect_right(self._starts, index) - 1
        if self._widths[piece]:
            return self._starts[piece], self._sources[piece]
        return index, self.span(index)[0]


def read_text(source: str) -> Reading:
    """Reads plain text. Costs next to nothing when there is nothing to fold."""
    if source.isascii() or _UNUSUAL.search(source) is None:
        return Reading(source, source, None, [], [])
    return _read(source, _UNUSUAL, _folds.__getitem__)


def read_json(source: str) -> Reading:
    r"""Reads the text of a JSON document with the escapes of its strings resolved (``\u0039``, ``\n``)."""
    if "\\" not in source:
        return read_text(source)
    return _read(source, _UNUSUAL_JSON, _unescaped)


def _read(source: str, tokens: re.Pattern[str], fold: Callable[[str], str]) -> Reading:
    parts: list[str] = []
    starts, sources, widths = [0], [0], [0]
    position = length = 0
    for token in tokens.finditer(source):
        start, end = token.span()
        if start > position:
            parts.append(source[position:start])
            length += start - position
        position = end
        folded = fold(token.group())
        parts.append(folded)
        if len(folded) != 1 or end - start != 1:
            starts += (length, length + len(folded))
            sources += (start, end)
            widths += (end - start, 0)
        length += len(folded)
    parts.append(source[position:])
    return Reading(source, "".join(parts), starts, sources, widths)
