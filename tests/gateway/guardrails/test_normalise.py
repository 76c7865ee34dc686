"""A reading folds what hides a number and leads back to the original."""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.guardrails.normalise import STABLE, read_json, read_text


@pytest.mark.parametrize("dash", [*"\u2010\u2011\u2012\u2013\u2014\u2015\u2212ㅡ\uff0d\ufe63"])
def test_dashes_read_as_hyphens(dash: str) -> None:
    assert read_text(f"1{dash}2").text == "1-2"


@pytest.mark.parametrize("hidden", [*"\u200b\u200c\u200d\u2060\ufeff\u00ad\u3164"])
def test_invisible_characters_vanish(hidden: str) -> None:
    reading = read_text(f"a{hidden}1{hidden}b")
    assert reading.text == "a1b"
    assert [reading.span(index) for index in range(3)] == [(0, 1), (2, 3), (4, 5)]


def test_stable_characters_are_what_nfkc_leaves_alone() -> None:
    stable = re.compile(f"[{STABLE}]")
    changed = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if stable.match(chr(code)) and unicodedata.normalize("NFKC", chr(code)) != chr(code)
    ]
    assert all("\u3131" <= char <= "\u318e" for char in changed)


def test_one_character_can_read_as_several() -> None:
    reading = read_text("가⑩나")
    assert reading.text == "가10나"
    assert [reading.span(index) for index in range(4)] == [
        (0, 1),
        (1, 2),
        (1, 2),
        (2, 3),
    ]
    assert reading.cut(2) == (1, 1)


def test_json_escapes_are_resolved() -> None:
    reading = read_json('"\\u0039\\n\\"\\ud83d\\ude00\\ud83d"')
    assert reading.text == '"9\n"\U0001f600\ufffd"'
    assert reading.span(1) == (1, 7)
    assert reading.span(4) == (11, 23)


@given(st.text())
def test_every_place_leads_back_into_the_source(text: str) -> None:
    reading = read_text(text)
    spans = [reading.span(index) for index in range(len(reading.text))]
    assert all(0 <= low < high <= len(text) for low, high in spans)
    assert spans == sorted(spans)
    assert reading.cut(len(reading.text)) == (len(reading.text), len(text))
