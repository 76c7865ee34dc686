"""Every text of a request is checked, and nothing else is touched."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.errors import ForbiddenContent, InternalError, InvalidRequest
from gateway.guardrails import body as body_module
from gateway.guardrails.body import MAX_DEPTH, Checked, Refused, check_body
from gateway.guardrails.personal import Policy
from gateway.guardrails.words import WordList
from tests.gateway.guardrails.texts import DEFAULT, EVERYTHING

RRN = "901010-1234567"
MASKED = "901010-*******"


def chat(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "openai/gpt-4o", "messages": list(messages), **more}


def check(body: dict[str, Any], policy: Policy = DEFAULT) -> Checked:
    before = json.dumps(body)
    checked = check_body(body, policy)
    assert json.dumps(body) == before, "the body that came is not modified"
    return checked


def test_nothing_to_mask_hands_back_the_same_body() -> None:
    body = chat({"role": "user", "content": "안녕하세요"}, temperature=0.5, seed=9010101234567)
    checked = check(body)
    assert checked.body is body
    assert not checked.changed
    assert checked.found == ()


@pytest.mark.parametrize(
    ("body", "location"),
    [
        (chat({"role": "system", "content": RRN}), "messages[0].content"),
        (chat({"role": "developer", "content": f"{RRN}입니다"}), "messages[0].content"),
        (
            chat({"role": "user", "content": [{"type": "text", "text": RRN}]}),
            "messages[0].content[0].text",
        ),
        (
            chat({"role": "assistant", "reasoning_content": RRN}),
            "messages[0].reasoning_content",
        ),
        (
            chat({"role": "tool", "tool_call_id": "c", "content": RRN}),
            "messages[0].content",
        ),
        (chat({"role": "user", "content": "x"}, user=RRN), "user"),
        (chat({"role": "user", "content": "x"}, metadata={"memo": RRN}), "metadata"),
        (
            chat(tools=[{"type": "function", "function": {"name": "f", "description": RRN}}]),
            "tools[0].function.description",
        ),
        (
            chat(tools=[{"parameters": {"properties": {"id": {"description": RRN}}}}]),
            "tools[0].parameters.properties.id.description",
        ),
        (chat(prediction={"type": "content", "content": RRN}), "prediction.content"),
        (chat(unheard_of=[{"x": RRN}]), "unheard_of[0].x"),
        ({"model": "m", "prompt": RRN}, "prompt"),
        ({"model": "m", "prompt": ["a", RRN]}, "prompt[1]"),
        (
            {
                "model": "m",
                "input": [{"role": "user", "content": [{"type": "input_text", "text": RRN}]}],
            },
            "input[0].content[0].text",
        ),
    ],
)
def test_every_text_is_masked_and_located(body: dict[str, Any], location: str) -> None:
    checked = check(body)
    sent = json.dumps(checked.body, ensure_ascii=False)
    assert checked.changed
    assert sent == json.dumps(body, ensure_ascii=False).replace(RRN, MASKED)
    assert [(found.location, found.kind, found.count) for found in checked.found] == [(location, "resident_number", 1)]


def test_tool_arguments_stay_valid_json() -> None:
    arguments = '{"rrn": 9010101234567, "ts": {"created_at": 9010101234567}, "n": 1.50, '
    arguments += '"memo": "여권\\nM12345678", "id": "901010-1234567"}'
    call = {
        "id": "M12345678",
        "type": "function",
        "function": {"name": "f", "arguments": arguments},
    }
    checked = check(chat({"role": "assistant", "tool_calls": [call]}))
    sent = checked.body["messages"][0]["tool_calls"][0]
    assert sent["id"] == "M12345678"
    assert sent["function"]["arguments"] == (
        '{"rrn": "901010*******", "ts": {"created_at": 9010101234567}, "n": 1.50, "memo": "여권\\nM********", '
        '"id": "901010-*******"}'
    )
    assert json.loads(sent["function"]["arguments"])["n"] == 1.5
    assert checked.kinds() == {"resident_number": 2, "passport": 1}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("9010101234567", '"901010*******"'),
        ("not json 901010-1234567", f"not json {MASKED}"),
    ],
)
def test_arguments_that_are_no_object(given: str, sent: str) -> None:
    body = chat({"role": "assistant", "function_call": {"name": "f", "arguments": given}})
    assert check(body).body["messages"][0]["function_call"]["arguments"] == sent


def test_decoded_arguments_are_walked_too() -> None:
    arguments = {
        "rrn": 9010101234567,
        "f": 9010101234567.0,
        "created_at": 9010101234567,
        "ok": True,
        RRN: [1, None],
        "계좌": "110-234-567890",
    }
    body = chat(
        {
            "role": "assistant",
            "tool_calls": [{"function": {"name": "f", "arguments": arguments}}],
        }
    )
    sent = check(body, EVERYTHING).body["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert sent == {
        "rrn": "901010*******", "f": "901010*******", "created_at": 9010101234567, "ok": True, MASKED: [1, None],
        "계좌": "***-***-******",
    }  # fmt: skip


def test_tool_results_that_are_json_stay_json() -> None:
    checked = check(
        chat(
            {
                "role": "tool",
                "tool_call_id": "c",
                "content": ' [{"주민번호": 9010101234567}]',
            }
        )
    )
    assert checked.body["messages"][0]["content"] == ' [{"주민번호": "901010*******"}]'


def test_ids_data_urls_images_and_models_are_left_alone() -> None:
    number = "9010101234567"
    body = {
        "model": number,
        "messages": [
            {"role": "tool", "tool_call_id": number, "content": f"![x](data:image/png;base64,AA/{number}/M12345678+)"},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{number}", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": f"https://example.com/{number}.png"}},
                {"type": "input_audio", "input_audio": {"data": f"{number}/" * 40, "format": "wav"}},
                {"type": "file", "file": {"file_id": number, "file_data": f"data:application/pdf;base64,{number}"}},
            ]},
            {"role": "assistant", "tool_calls": [{"id": number, "function": {"name": "f", "arguments": "{}"}}]},
        ],
    }  # fmt: skip
    assert not check(body, EVERYTHING).changed


def test_a_file_name_is_text() -> None:
    body = chat(
        {
            "role": "user",
            "content": [{"type": "file", "file": {"filename": f"{RRN}.pdf", "file_id": "f"}}],
        }
    )
    assert check(body).body["messages"][0]["content"][0]["file"]["filename"] == f"{MASKED}.pdf"


def test_a_masked_name_stays_one_that_providers_take() -> None:
    assert check(chat({"role": "user", "name": "M12345678", "content": "x"})).body["messages"][0]["name"] == "M________"


def test_a_number_split_over_text_parts_is_found() -> None:
    parts = [
        {"type": "text", "text": "번호 901010-"},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "1234567 끝"},
    ]
    sent = check(chat({"role": "user", "content": parts})).body["messages"][0]["content"]
    assert [part.get("text") for part in sent] == ["번호 901010-", None, "******* 끝"]


def test_a_blocked_kind_refuses_without_the_original() -> None:
    policy = Policy.of({"mobile": "block"})
    with pytest.raises(Refused) as refused:
        check_body(chat({"role": "user", "content": f"{RRN} 010-1234-5678"}), policy)
    error = refused.value
    assert (error.status, error.code) == (400, "forbidden_content")
    assert error.details == {"kinds": ["mobile"]}
    assert error.location == "messages[0].content"
    assert "1234" not in json.dumps(error.body(), ensure_ascii=False)


@pytest.mark.parametrize(
    "body",
    [
        chat({"role": "user", "content": "이것은 기 밀"}),
        chat(
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "기"},
                    {"type": "text", "text": "밀"},
                ],
            }
        ),
        chat(
            {
                "role": "assistant",
                "tool_calls": [{"function": {"arguments": '{"a":"\\uae30\\ubc00"}'}}],
            }
        ),
        {"model": "m", "prompt": ["기밀"]},
    ],
)
def test_a_forbidden_word_refuses_with_the_promised_text(body: dict[str, Any]) -> None:
    with pytest.raises(ForbiddenContent) as refused:
        check_body(body, DEFAULT, WordList.compile(["기밀"]))
    assert refused.value.body() == {
        "error": {
            "code": "forbidden_content",
            "message": "사내 금지어가 포함되어 있습니다",
            "type": "forbidden_content",
        }
    }
    assert isinstance(refused.value, Refused)
    assert refused.value.word == "기밀"


def test_words_are_looked_for_in_prompts_not_in_settings() -> None:
    body = chat(
        {"role": "user", "content": "이야기 밀가루"},
        tool_choice="auto",
        reasoning_effort="high",
    )
    assert not check_body(body, DEFAULT, WordList.compile(["기밀", "user", "auto", "high", "gpt-4o"])).changed


def test_an_unexpected_error_refuses_and_quotes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(text: str, policy: Policy, **_: Any) -> Any:
        raise ValueError(text)

    monkeypatch.setattr(body_module, "mask", broken)
    with pytest.raises(InternalError) as refused:
        check_body(chat({"role": "user", "content": RRN}), DEFAULT)
    assert RRN not in str(refused.value.body())
    assert refused.value.__suppress_context__


def test_deep_nesting_is_refused() -> None:
    deep: Any = "x"
    for _ in range(MAX_DEPTH + 2):
        deep = [deep]
    with pytest.raises(InvalidRequest):
        check_body(chat(x=deep), DEFAULT)


def test_an_unknown_field_with_a_personal_name_is_not_repeated_in_the_report() -> None:
    found = check(chat(**{RRN: {"text": RRN}})).found
    assert [entry.location for entry in found] == ["*.text"]
