"""Words that an organisation forbids in prompts.

Texts and words are compared as people read them: one form for each character (NFKC, case, composed syllables), no
invisible characters, one space between tokens. Spaces between single syllables do not hide a word (``기 밀``), but
tokens that merely touch do not make one (``이야기 밀가루``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import ahocorasick

from gateway.errors import InvalidRequest
from gateway.guardrails.normalise import INVISIBLE
from gateway.guardrails.sieve import Sieve

MAX_WORDS = 10_000
"""Ten times the longest list that a company keeps by hand; the automaton of one list stays below some ten MB."""

MAX_LENGTH = 100
"""Characters of one word: a phrase, not a document."""

_SHORT_LATIN = 3

_WORTH_SIFTING = 256
"""Characters. A shorter text is through the automaton before the sieve is set up."""

_VOWEL = re.compile("[\u314f-\u3163]")
_TYPED_JAMO = re.compile("([\u3131-\u314e])([\u314f-\u3163])(?:([\u3131-\u314e])(?![\u314f-\u3163]))?")
_LEADS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_TAILS = "ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"
_ASCII = bytes(0x20 if chr(b).isspace() and b < 128 else ord(chr(b).lower()) if b < 128 else b for b in range(256))
"""UTF-8 with its ASCII letters in lower case and its ASCII spaces as blanks."""
_ASCII_OR_HANGUL = bytes([0, *range(0xAC, 0xD8)])
"""Upper bytes of UTF-16. What of Hangul stands behind the syllables (from U+D7A4 on) has no other form either."""
_SPACES = re.compile(b"  +")
# A space with one lone syllable on either side. It starts with the space, which the search can skip to.
_SEAM = re.compile(r" (?<=(?<!\w)[가-힣] )(?=[가-힣](?!\w))")


def normalise(text: str) -> str:
    """The text as words are looked for in it, before spaces between single syllables are closed."""
    if text.isascii() or _plain(text):
        folded = text.encode().translate(_ASCII).strip()
        return (_SPACES.sub(b" ", folded) if b"  " in folded else folded).decode()
    text = INVISIBLE.sub("", text)
    if _VOWEL.search(text):
        text = _TYPED_JAMO.sub(_syllable, text)
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", text)
    folded = text.casefold()
    if folded != text and not unicodedata.is_normalized("NFKC", folded):
        folded = unicodedata.normalize("NFKC", folded)
    return " ".join(folded.split())


def _plain(text: str) -> bool:
    """Whether there is nothing but ASCII and Hangul, which is its own normal form."""
    high = text.encode("utf-16-le", "surrogatepass")[1::2]
    if high.translate(None, _ASCII_OR_HANGUL):
        return False
    low = high.count(0)
    return len(text.encode()) == low + 3 * (len(high) - low)  # else there are letters between ASCII and U+0100


def _syllable(jamo: re.Match[str]) -> str:
    """Letters typed one by one (ㄱㅣ) as the syllable that they spell."""
    lead, vowel, tail = jamo.group(1), jamo.group(2), jamo.group(3) or ""
    if lead not in _LEADS:
        return jamo.group()
    closes = tail != "" and tail in _TAILS
    code = (_LEADS.index(lead) * 21 + ord(vowel) - 0x314F) * 28 + (_TAILS.index(tail) + 1 if closes else 0)
    return chr(0xAC00 + code) + ("" if closes else tail)


def _closed(text: str) -> tuple[str, set[int]]:
    """The text without the spaces between single syllables, and the places in it where one was."""
    parts: list[str] = []
    seams: set[int] = set()
    position = 0
    for seam in _SEAM.finditer(text):
        parts.append(text[position : seam.start()])
        seams.add(seam.start() - len(seams))
        position = seam.end()
    parts.append(text[position:])
    return "".join(parts), seams


@dataclass(frozen=True, slots=True)
class _Form:
    """One way a word is looked for. ``spaced``: only where every syllable stood alone in the text."""

    word: str
    size: int
    spaced: bool
    starts_latin: bool
    ends_latin: bool


class WordList:
    """The forbidden words of one organisation at one version. Immutable; compiled once, then used by every request.

    The automaton works on the UTF-8 bytes: its nodes have few children there, so that 10,000 words cost about what
    10 cost. On characters the first node alone would have a child for every first syllable.
    """

    __slots__ = ("_automaton", "_sieve", "words")

    def __init__(self, words: tuple[str, ...], automaton: Any, sieve: Sieve) -> None:
        self.words = words
        self._automaton = automaton
        self._sieve = sieve

    @staticmethod
    def compile(words: Iterable[str]) -> WordList:
        """A list of at most ``MAX_WORDS`` words of at most ``MAX_LENGTH`` characters. Doubles count once.

        Raises:
            InvalidRequest: too many words, one too long, or one of which nothing is left once it is normalised (it
                would forbid everything).
        """
        unique = tuple(dict.fromkeys(words))
        if len(unique) > MAX_WORDS:
            raise InvalidRequest(f"At most {MAX_WORDS:,} forbidden words", param="words")
        forms: dict[bytes, _Form] = {}
        for word in unique:
            if len(word) > MAX_LENGTH:
                raise InvalidRequest(
                    f"A forbidden word has at most {MAX_LENGTH} characters",
                    param="words",
                )
            plain = normalise(word)
            if not any(char.isalnum() for char in plain):
                raise InvalidRequest("A forbidden word needs a letter or a digit", param="words")
            closed = plain.replace(" ", "")
            if closed != plain and all("가" <= char <= "힣" for char in closed):
                forms.setdefault(closed.encode(), _Form(word, len(closed), True, False, False))
            forms[plain.encode()] = _form(word, plain)
        return WordList(unique, _automaton(forms), Sieve([raw.decode() for raw in forms]))

    def __len__(self) -> int:
        return len(self.words)

    def find(self, text: str) -> str | None:
        """The first forbidden word in ``text``, as the organisation wrote it, or None."""
        return next(self._hits(text), None)

    def every(self, text: str) -> list[str]:
        """All forbidden words in ``text``, each once, in the order in which they end."""
        return list(dict.fromkeys(self._hits(text)))

    def _hits(self, text: str) -> Iterator[str]:
        if self._automaton is None:
            return
        closed, seams = _closed(normalise(text))
        if len(closed) >= _WORTH_SIFTING and not self._sieve.may_hold(closed):
            return
        raw = closed.encode("utf-8", "replace")
        read, characters = 0, 0
        for last, form in self._automaton.iter(raw.decode("latin-1")):
            if not _whole_latin(raw, last + 1, form):
                continue
            if not form.spaced:
                yield form.word
                continue
            characters += len(raw[read : last + 1].decode("utf-8", "replace"))
            read = last + 1
            if all(place in seams for place in range(characters - form.size + 1, characters)):
                yield form.word


def _form(word: str, plain: str) -> _Form:
    latin = plain.isascii() and plain.isalnum() and len(plain) <= _SHORT_LATIN
    return _Form(word, len(plain.encode()), False, _latin(plain[0]), latin)


def _latin(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _whole_latin(raw: bytes, end: int, form: _Form) -> bool:
    """A Latin word starts where no Latin letter or digit precedes it, and one of up to three letters also ends so:
    ``cia`` is not in ``special``, but ``secret`` is in ``secrets``."""
    if form.starts_latin:
        start = end - form.size
        if start > 0 and raw[start - 1 : start].isalnum():
            return False
    return not (form.ends_latin and raw[end : end + 1].isalnum())


def _automaton(forms: dict[bytes, _Form]) -> Any:
    if not forms:
        return None
    automaton = cast("Any", ahocorasick).Automaton()
    for raw, form in forms.items():
        automaton.add_word(raw.decode("latin-1"), form)
    automaton.make_automaton()
    return automaton
