"""Tells quickly that a long Korean text holds none of many words.

An automaton over thousands of words misses the processor's cache at every letter. Most texts hold no word, and that is
seen without it: each pair of neighbouring letters becomes one number of 16 bits, and one compiled pattern looks for
numbers that a word begins with. Its cost hardly depends on how many words there are. Nothing is decided here that is
not certain: what might hold a word goes to the automaton.
"""

from __future__ import annotations

import random
import re

# Any fixed shuffle will do: it only spreads letters evenly, and choosing words that collide gains nobody anything.
_SHUFFLE = random.Random(1)  # noqa: S311 no secret
_LOW = bytes(_SHUFFLE.sample(range(256), 256))
_HIGH = bytes(_SHUFFLE.sample(range(256), 256))
# The upper byte of a number avoids 0xD8 to 0xDF, which UTF-16 keeps for surrogates.
_UPPER = bytes(b - 0xD8 + 0x20 if 0xD8 <= b <= 0xDF else b for b in range(256))
_UPPERS = sorted(set(_UPPER))

_DEPTH = 3
"""Numbers of a word that the pattern compares, so its first four letters."""

_CROWD = 8
"""One place in so many may look like a word's beginning; in a text with more the automaton is cheaper."""


class Sieve:
    """What the beginnings of some words look like.

    Args:
        words: as they occur in a searched text; none empty.
    """

    __slots__ = ("_beginnings", "_pattern")

    def __init__(self, words: list[str]) -> None:
        self._beginnings: dict[bytes, tuple[bytes, ...]] = {}
        held: list[set[str]] = [set() for _ in range(_DEPTH)]
        ends: list[set[str]] = [set() for _ in range(_DEPTH - 1)]
        for word in words:
            raw = _raw(word)
            self._beginnings[raw[:4]] = (*self._beginnings.get(raw[:4], ()), raw)
            alternatives = _numbers_of(raw)
            for place, numbers in enumerate(alternatives):
                held[place].update(numbers)
            if len(alternatives) < _DEPTH:
                ends[len(alternatives) - 1].update(alternatives[-1])
        self._pattern = re.compile(_pattern(held, ends), re.DOTALL)

    def may_hold(self, text: str) -> bool:
        """False only where certainly none of the words is in ``text``."""
        raw = _raw(text)
        size = len(raw) // 2
        if raw[1::2].count(0) * 2 > size:
            return True  # mostly Latin: bytes and letters are one there, and the automaton's way is shorter
        room = size // _CROWD
        for candidate in self._pattern.finditer(_numbers(raw + b" \0")):
            place = candidate.start() * 2
            words = self._beginnings.get(raw[place : place + 4], ())
            if raw.startswith(words, place) or raw.startswith(self._beginnings.get(raw[place : place + 2], ()), place):
                return True
            room -= 1
            if room < 0:
                return True
        return False


def _raw(text: str) -> bytes:
    return text.encode("utf-16-le", "replace")


def _letters(raw: bytes) -> bytes:
    """One byte for each letter, by shuffled halves."""
    low, high = raw[0::2].translate(_LOW), raw[1::2].translate(_HIGH)
    mixed = int.from_bytes(low, "little") ^ int.from_bytes(high, "little")
    return mixed.to_bytes(len(low), "little")


def _numbers(raw: bytes) -> str:
    """One character for each pair of neighbouring letters."""
    letters = _letters(raw)
    pairs = bytearray(2 * len(letters) - 2)
    pairs[0::2] = letters[:-1]
    pairs[1::2] = letters[1:].translate(_UPPER)
    return pairs.decode("utf-16-le")


def _numbers_of(raw: bytes) -> list[list[str]]:
    """For each of a word's first pairs the numbers that it may have: a single letter may be followed by any."""
    if len(raw) > 2:
        return [[number] for number in _numbers(raw)[:_DEPTH]]
    letter = _letters(raw)[0]
    return [[chr(letter | upper << 8) for upper in _UPPERS]]


def _pattern(held: list[set[str]], ends: list[set[str]]) -> str:
    """Numbers of beginnings, one behind the other; a word that ends sooner is looked back for."""
    pattern = _any_of(held[-1])
    for place in range(_DEPTH - 2, -1, -1):
        behind = f"(?<={_any_of(ends[place])})|" if ends[place] else ""
        group = "(?:" if place else "(?="  # every place is looked at, also within what looks like a word
        pattern = f"{_any_of(held[place])}{group}{behind}{pattern})"
    return pattern


def _any_of(numbers: set[str]) -> str:
    if not numbers:
        return "(?!)"
    return "[" + "".join(f"\\u{ord(number):04x}" for number in sorted(numbers)) + "]"
