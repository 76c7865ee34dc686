"""Words around a number that decide what it is: `context_words.toml`, compiled."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import cache
from importlib.resources import files

REACH = 32
"""How far before a number a word like 계좌 still speaks of it, in characters."""

WINDOW = 96
"""Characters looked at: a syllable may be written as three conjoining jamo."""

# What may stand between the word and the number: a closing quote, a particle, a colon, an opening quote.
_GLUE = r"[\"'`*)\]]{0,3}\s{0,3}(?:번호|코드)?(?:은|는|이|가)?\s{0,3}(?:=>|:=|[:=])?\s{0,3}[\"'`*(\[]{0,3}"
# A Latin word starts where a letter does not precede it, or at a capital within a name: eventTimestamp.
_LATIN_START = r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))"


@cache
def _words() -> dict[str, list[str]]:
    text = files("gateway.guardrails").joinpath("context_words.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _alternatives(words: list[str]) -> str:
    ordered = sorted(words, key=len, reverse=True)
    return "|".join((_LATIN_START if word.isascii() else "") + f"(?i:{re.escape(word)})" for word in ordered)


@cache
def _directly_before() -> re.Pattern[str]:
    return re.compile(f"(?:{_alternatives(_words()['not_personal'])}){_GLUE}\\Z")


@cache
def _near(kind: str) -> re.Pattern[str]:
    return re.compile(_alternatives(_words()[kind]))


def _window(text: str, position: int) -> str:
    return unicodedata.normalize("NFC", text[max(0, position - WINDOW) : position])


def names_something_else(text: str, position: int) -> bool:
    """Whether a word or JSON key for a barcode or a time stands directly before ``position``."""
    return _directly_before().search(_window(text, position)) is not None


def speaks_of(kind: str, text: str, position: int) -> bool:
    """Whether a word for ``kind`` (``bank_account``, ``health_insurance``) stands near before ``position``."""
    return _near(kind).search(_window(text, position)[-REACH:]) is not None


def speaks_of_any(text: str) -> bool:
    """Whether any word for a bank account or health insurance stands anywhere in the text. Errs towards yes."""
    plain = text.lower() if text.isascii() else unicodedata.normalize("NFC", text).lower()
    return any(word in plain for kind in ("bank_account", "health_insurance") for word in _words()[kind])
