"""A stream is masked exactly as the whole text, wherever it is cut."""

from __future__ import annotations

import json
from functools import partial

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.guardrails.patterns import REACH
from gateway.guardrails.personal import Policy, counts, mask
from gateway.guardrails.stream import BytesMasker, StreamMasker, mask_json
from tests.gateway.guardrails.texts import (
    DEFAULT,
    EVERYTHING,
    NUMBERS,
    TODAY,
    cut_texts,
    texts,
)

policies = st.sampled_from([DEFAULT, EVERYTHING, Policy.of({"mobile": "mask", "email": "block"})])


def streamed(pieces: list[str], policy: Policy, *, json_text: bool = False) -> str:
    masker = StreamMasker(policy, json_text=json_text, today=TODAY)
    return "".join(masker.feed(piece) for piece in pieces) + masker.end()


@settings(max_examples=400, deadline=None)
@given(cut_texts(), policies)
def test_any_cut_gives_the_same_as_the_whole(cut: tuple[str, list[str]], policy: Policy) -> None:
    text, pieces = cut
    assert streamed(pieces, policy) == mask(text, policy, today=TODAY)[0]


@settings(max_examples=300, deadline=None)
@given(texts, policies)
def test_one_character_at_a_time_gives_the_same_and_holds_little(text: str, policy: Policy) -> None:
    masker = StreamMasker(policy, today=TODAY)
    sent = ""
    for char in text:
        sent += masker.feed(char)
        visible = masker.held - sum(text.count(hidden) for hidden in "\u200b\u00ad\ufe0f")
        assert visible <= REACH
    sent += masker.end()
    whole, matches = mask(text, policy, today=TODAY)
    assert sent == whole
    assert dict(masker.found) == counts(matches)


@pytest.mark.parametrize("number", NUMBERS)
def test_every_split_point_in_characters(number: str) -> None:
    text = f"계좌는 {number}입니다. 보험 {number}, 끝"
    expected = mask(text, EVERYTHING, today=TODAY)[0]
    for cut in range(len(text) + 1):
        assert streamed([text[:cut], text[cut:]], EVERYTHING) == expected


@pytest.mark.parametrize("number", NUMBERS)
def test_every_split_point_in_bytes(number: str) -> None:
    raw = f"번호는 {number}입니다 😀".encode()
    expected = mask(raw.decode(), EVERYTHING, today=TODAY)[0].encode()
    for cut in range(len(raw) + 1):
        masker = BytesMasker(StreamMasker(EVERYTHING, today=TODAY))
        assert masker.feed(raw[:cut]) + masker.feed(raw[cut:]) + masker.end() == expected


def test_plain_prose_is_not_held_back() -> None:
    masker = StreamMasker(DEFAULT)
    assert masker.feed("안녕하세요, 무엇을 도와") == "안녕하세요, 무엇을 도와"
    assert masker.feed("드릴까요? hello") == "드릴까요? hello"
    assert masker.feed(" 2026") == " "
    assert masker.feed("년") == "2026년"


def test_a_long_email_is_masked_from_where_it_is_recognised() -> None:
    local = "a" * 100
    text = f"{local}@example.com으로"
    expected = mask(text, EVERYTHING)[0]
    assert streamed(list(text), EVERYTHING) == expected
    assert expected.endswith("@*******.***으로")
    assert expected.count("a") == 100 - (REACH - len("@example.co"))


def test_an_endless_domain_stays_masked() -> None:
    text = "kim@example." + "com." * 60 + " 끝"
    expected = mask(text, EVERYTHING)[0]
    assert streamed(list(text), EVERYTHING) == expected
    assert "com" not in expected


values = st.recursive(
    st.one_of(
        texts,
        st.sampled_from(
            [
                9010101234567,
                -9010101234567,
                4111111111111111,
                9010101234567.0,
                1.9010101234567,
                12,
                None,
                True,
            ]
        ),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["계좌", "ean", "a", "901010-1234567"]), inner, max_size=3),
    ),
    max_leaves=6,
)
documents = st.one_of(values.map(json.dumps), values.map(partial(json.dumps, ensure_ascii=False)))


@settings(max_examples=400, deadline=None)
@given(cut_texts(documents))
def test_json_stays_valid_wherever_it_is_cut(cut: tuple[str, list[str]]) -> None:
    text, pieces = cut
    whole, found = mask_json(text, EVERYTHING, today=TODAY)
    msgspec.json.decode(whole.encode("utf-8", "surrogatepass"))
    assert streamed(pieces, EVERYTHING, json_text=True) == whole
    assert streamed(list(text), EVERYTHING, json_text=True) == whole
    assert bool(found) == (whole != text)
    again, _ = mask_json(whole, EVERYTHING, today=TODAY)
    assert again == whole


def test_json_numbers_that_are_personal_become_strings() -> None:
    text = '{"a": 9010101234567, "b": [-9010101234567,12], "ean": 8801011234567, "x": 1.9010101234567, "p": 9010101234567.0}'
    assert mask_json(text, DEFAULT)[0] == (
        '{"a": "901010*******", "b": ["-901010*******",12], "ean": 8801011234567, "x": 1.9010101234567, '
        '"p": "901010*******.0"}'
    )


def test_json_escapes_hide_nothing() -> None:
    text = '{"메모":"여권\\nM12345678", "\\u0039010101234567": "\\uff19\\u0030\\u200b1010-1234567"}'
    assert mask_json(text, DEFAULT)[0] == (
        '{"메모":"여권\\nM********", "\\u003901010*******": "\\uff19\\u0030\\u200b1010-*******"}'
    )


def test_a_key_gives_context_to_its_value() -> None:
    text = (
        '{"은행계좌":"110-234-567890","text":"아주 긴 글이 그 사이에 있어서 문맥이 닿지 않는다","v":"110-234-567890"}'
    )
    assert mask_json(text, EVERYTHING)[0] == text.replace("110-234-567890", "***-***-******", 1)


def test_data_urls_in_a_stream_are_left_alone() -> None:
    text = "그림: data:image/png;base64,AAAA/M12345678/9010101234567/+a= 그리고 M12345678"
    expected = text[:-8] + "********"
    for cut in range(len(text) + 1):
        assert streamed([text[:cut], text[cut:]], EVERYTHING) == expected
    assert streamed(list(text), EVERYTHING) == expected


def test_data_that_begins_with_harmless_pieces_is_left_alone() -> None:
    text = "data:image/png;base64,timestamp+901010-1234567 901010-1234567"
    for cut in range(len(text) + 1):
        assert streamed([text[:cut], text[cut:]], DEFAULT) == text[:-7] + "*******"
    assert streamed(list(text), DEFAULT) == text[:-7] + "*******"
