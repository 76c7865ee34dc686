"""What a moderation model is shown of a prompt, and what its verdict means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.guardrails.moderation import OVERLAP, PIECE, Judge, Unjudged, flagged, pieces_of, question


def said(*contents: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content} for content in contents]}


def test_every_text_of_the_prompt_is_shown_and_nothing_else() -> None:
    body = said("첫째", [{"type": "text", "text": "둘"}, {"type": "text", "text": "째"}])
    body["messages"] += [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/picture"}}]},
        {"role": "tool", "tool_call_id": "call_x", "content": '{"note": "넷\\ud55c"}'},
    ]
    body["tools"] = [{"type": "function", "function": {"name": "look", "description": "다섯", "parameters": {}}}]
    shown = "\n".join(pieces_of(body))
    assert all(text in shown for text in ("첫째", "둘째", "넷한", "다섯"))
    assert not any(text in shown for text in ("example.com", "call_x", "user", "function"))


@given(st.lists(st.text("가나다 a\n", max_size=3 * PIECE), max_size=6))
def test_pieces_hold_all_of_it_in_order_and_none_is_too_long(texts: list[str]) -> None:
    pieces = pieces_of(said(*texts))
    assert all(0 < len(piece) <= PIECE for piece in pieces)
    joined = "\n".join(text for text in texts if any(map(str.isalpha, text)))
    place = 0
    for piece in pieces:
        found = joined.find(piece, max(0, place - OVERLAP - 1))
        assert 0 <= found <= place + 1, "nothing is left out between two pieces but the line break where they part"
        place = found + len(piece)
    assert place == len(joined)


def test_a_sentence_on_the_seam_of_a_long_text_is_whole_in_one_piece() -> None:
    sentence = "나쁜 문장" * 10
    text = "가" * (PIECE - 25) + sentence + "나" * PIECE
    assert any(sentence in piece for piece in pieces_of(said(text)))


def test_what_is_nested_too_deep_is_refused() -> None:
    deep: Any = "x"
    for _ in range(80):
        deep = {"a": deep}
    with pytest.raises(InvalidRequest):
        pieces_of(deep)


def test_a_question_names_the_model_only_where_one_is_chosen() -> None:
    assert json.loads(question(["하나", "둘"], "omni")) == {"input": ["하나", "둘"], "model": "omni"}
    assert json.loads(question(["하나"], "")) == {"input": ["하나"]}


def verdict(*results: dict[str, Any]) -> bytes:
    return json.dumps({"id": "modr-1", "model": "omni", "results": results}).encode()


def test_the_categories_of_all_pieces_are_named() -> None:
    fine = {"flagged": False, "categories": {"hate": False}}
    bad = {"flagged": True, "categories": {"hate": True, "violence": False, "illicit": None}}
    assert flagged(verdict(fine, fine), 2) == set()
    assert flagged(verdict(fine, bad), 2) == {"hate"}
    assert flagged(verdict({"flagged": True}), 1) == {"unnamed"}


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"results": 1}', b'{"results":[{}]}', b"<html>", verdict()])
def test_what_is_no_verdict_on_every_piece_is_none(raw: bytes) -> None:
    with pytest.raises(Unjudged):
        flagged(raw, 1)


@pytest.mark.parametrize(
    ("judge", "domestic_only", "no_training", "may"),
    [
        (Judge("x"), False, False, True),
        (Judge("x"), True, False, False),
        (Judge("x"), False, True, False),
        (Judge("x", domestic=True), True, False, True),
        (Judge("x", domestic=True), True, True, False),
        (Judge("x", domestic=True, no_training=True), True, True, True),
    ],
)
def test_it_reads_only_what_the_organisations_switches_permit(
    judge: Judge, domestic_only: bool, no_training: bool, may: bool
) -> None:
    assert judge.may_read(domestic_only=domestic_only, no_training=no_training) is may
