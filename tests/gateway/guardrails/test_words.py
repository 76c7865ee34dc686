"""Forbidden words are found as people read them, and only then."""

from __future__ import annotations

import unicodedata

import pytest

from gateway.errors import InvalidRequest
from gateway.guardrails.words import MAX_LENGTH, MAX_WORDS, WordList


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("기밀", "이 문서는 기밀입니다"),
        ("기밀", "기 밀"),
        ("기밀", "이것은 '기 밀'이다? 기  밀, 기\n밀"),
        ("기밀", "대외 기\u200b밀 자료"),
        ("기밀", unicodedata.normalize("NFD", "기밀문서")),
        ("기밀", "ㄱㅣㅁㅣㄹ 문서"),
        ("대외비", "(대 외 비)"),
        ("대외 비밀", "대외  비밀 자료"),
        ("대외 비밀", "대외 비 밀"),
        ("대외 비밀", "대 외 비 밀"),
        ("그 수", "그 수가 많다"),
        ("그 수", "그 수"),
        ("Project X", "우리 ＰＲＯＪＥＣＴ ｘ는"),
        ("secret", "TOP SECRETS"),
        ("cia", "the CIA에서"),
        ("straße", "STRASSE"),
        ("C++", "c++로 작성"),
        ("한글abc", "xyz한글ABC"),
    ],
)
def test_finds_the_word(word: str, text: str) -> None:
    assert WordList.compile(["없는낱말", word]).find(text) == word


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("기밀", "이야기 밀가루"),
        ("기밀", "이야기 밀"),
        ("기밀", "기 밀가루"),
        ("기밀", "기, 밀"),
        ("대외 비밀", "대외비밀번호"),
        ("그 수", "그수염"),
        ("cia", "special"),
        ("cia", "ciao"),
        ("ion", "version"),
        ("secret", "topsecret"),
        ("기밀", ""),
    ],
)
def test_leaves_what_merely_looks_like_it(word: str, text: str) -> None:
    assert WordList.compile([word]).find(text) is None


def test_an_empty_list_forbids_nothing() -> None:
    assert WordList.compile([]).find("기밀") is None


def test_finds_a_short_word_after_a_rejected_longer_hit() -> None:
    words = WordList.compile(["가 나", "나다"])
    assert words.find("가나다") == "나다"


def test_one_form_can_stand_for_two_words_without_losing_the_stricter() -> None:
    assert WordList.compile(["대외 비", "대외비"]).find("대외비밀") == "대외비"
    assert WordList.compile(["대외비", "대외 비"]).find("대외비밀") == "대외비"


def test_finds_any_of_ten_thousand() -> None:
    listed = [f"금지어{number:05d}" for number in range(MAX_WORDS)]
    words = WordList.compile(listed)
    assert len(words) == MAX_WORDS
    assert words.find("여기에 금지어07777이 있다") == "금지어07777"
    assert words.find("금지어 없음") is None


@pytest.mark.parametrize(
    "words",
    [
        ["가" * (MAX_LENGTH + 1)],
        ["\u200b"],
        ["  "],
        ["..."],
        [f"낱말{n}" for n in range(MAX_WORDS + 1)],
    ],
)
def test_refuses_lists_past_the_limits(words: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        WordList.compile(words)


def test_a_text_full_of_beginnings_is_searched_as_exactly() -> None:
    words = WordList.compile(["가나다라", "가나 다", "기밀", "secret"])
    assert words.find("가나" * 500) is None
    assert words.find("가나" * 500 + "다라") == "가나다라"
    assert words.find("가나" * 500 + " 가 나 다") == "가나 다"
    assert words.every("가나" * 500 + "다라 secret 기 밀") == ["가나다라", "secret", "기밀"]


@pytest.mark.parametrize("before", ["", "x", "😀", "\ud800", "가", "x😀"])
@pytest.mark.parametrize("after", ["", "y", "😀", "힣힣"])
def test_a_word_is_found_at_every_place(before: str, after: str) -> None:
    words = WordList.compile(["기밀", "대외비", "기밀문서"])
    for count in range(4):
        assert words.find(before * count + "기밀" + after) == "기밀"
        assert words.find(before * count + "기" + after) is None
