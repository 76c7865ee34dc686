"""Trying a policy: what would leave, what was found and where, and nothing is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.guardrails.personal import Policy
from gateway.guardrails.trial import Trial, try_body, try_text
from gateway.guardrails.words import WordList

TEXT = "901010-1234567, 010-1234-5678, kim@example.com"


def kinds(tried: Trial) -> list[tuple[str, str, str, list[tuple[int, int]]]]:
    return [(hit.location, hit.kind, hit.action, hit.places) for hit in tried.hits]


def test_a_text_comes_back_as_it_would_leave_with_every_kind_that_is_in_it() -> None:
    tried = try_text(TEXT, Policy.of({"mobile": "mask"}))
    assert (tried.outcome, tried.text, tried.body) == ("masked", "901010-*******, ***-****-****, kim@example.com", None)
    assert kinds(tried) == [
        ("text", "resident_number", "mask", [(0, 14)]),
        ("text", "mobile", "mask", [(16, 29)]),
        ("text", "email", "off", [(31, 46)]),
    ]
    assert tried.hits[0].label == "주민등록번호"


def test_a_blocked_kind_or_a_word_refuses_and_both_are_told() -> None:
    words = WordList.compile(["기밀", "대외비", "없음"])
    tried = try_text("기 밀, 대외비, 기밀 010-1234-5678", Policy.of({"mobile": "block"}), words)
    assert (tried.outcome, tried.words, tried.word_count) == ("refused", ["기밀", "대외비"], 2)
    assert try_text("기밀", Policy.of(), words).outcome == "refused"
    assert try_text("010-1234-5678", Policy.of({"mobile": "block"})).outcome == "refused"
    passing = try_text("이야기 밀가루", Policy.of(), words)
    assert (passing.outcome, passing.text, passing.hits, passing.words) == ("passes", "이야기 밀가루", [], [])


def test_a_body_is_gone_through_as_a_request_is() -> None:
    arguments = json.dumps({"id": 9010101234567})
    body: dict[str, Any] = {
        "model": "m",
        "messages": [
            {"role": "user", "content": TEXT},
            {"role": "assistant", "tool_calls": [{"id": "901010-1234567", "function": {"arguments": arguments}}]},
        ],
    }
    before = json.dumps(body)
    tried = try_body(body, Policy.of())
    assert json.dumps(body) == before and tried.body is not None
    assert tried.body["messages"][0]["content"].startswith("901010-*******,")
    call = tried.body["messages"][1]["tool_calls"][0]
    assert (call["id"], json.loads(call["function"]["arguments"])) == ("901010-1234567", {"id": "901010*******"})
    assert ("messages[0].content", "mobile", "off", [(16, 29)]) in kinds(tried)
    assert ("messages[1].tool_calls[0].function.arguments", "resident_number", "mask", []) in kinds(tried)


def test_what_is_nested_too_deep_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(80):
        deep = {"a": deep}
    with pytest.raises(InvalidRequest):
        try_body(deep, Policy.of())
