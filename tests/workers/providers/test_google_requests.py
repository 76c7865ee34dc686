"""OpenAI's request, said in Gemini's words: one test for each row of the mapping."""

from __future__ import annotations

from typing import Any

import pytest
from google.genai import types

from tests.provider.dialects.google import PICTURE, SIGNATURE
from tests.workers.providers.calls import ASK, TOOL, adapter_of, answered, body, call, message, refused, sent
from workers.providers.base import Fetched
from workers.providers.google_contents import NO_SIGNATURE

FLASH, PRO3 = "google/gemini-2.5-flash", "google/gemini-3-pro-preview"
DRAWS, DRAWS3 = "google/gemini-2.5-flash-image", "google/gemini-3-pro-image-preview"
URL = "https://example.com/a.png"
PNG = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"서울"}'}}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": '{"sky":"맑음"}'}
TURN = {"role": "assistant", "content": None, "tool_calls": [CALL]}


def test_it_goes_to_the_native_method_with_the_key_in_its_header() -> None:
    streamed, whole = sent(call(FLASH)), sent(call(FLASH, stream=False))
    base = "https://provider.test/v1beta/models/gemini-2.5-flash"
    assert (streamed.url, whole.url) == (f"{base}:streamGenerateContent?alt=sse", f"{base}:generateContent")
    assert streamed.headers["x-goog-api-key"] == "sk-secret-0001"
    assert "sk-secret" not in streamed.url and "authorization" not in streamed.headers


def test_system_messages_become_the_system_instruction() -> None:
    made = body(FLASH, messages=[{"role": "system", "content": "하나"}, {"role": "developer", "content": "둘"}, *ASK])
    assert made["systemInstruction"] == {"parts": [{"text": "하나"}, {"text": "둘"}]}
    assert made["contents"] == [{"role": "user", "parts": [{"text": "안녕"}]}]
    assert body(FLASH, messages=[{"role": "system", "content": "s"}])["contents"][0]["role"] == "user"


def test_parameters_have_gemini_s_names() -> None:
    made = body(
        FLASH,
        temperature=1.5,
        top_p=0.9,
        top_k=5,
        max_tokens=7,
        stop="E",
        n=2,
        seed=3,
        frequency_penalty=1,
        presence_penalty=-1,
        logprobs=True,
        top_logprobs=2,
        user="left out",
    )["generationConfig"]
    made.pop("thinkingConfig")
    assert made == {
        "temperature": 1.5,
        "topP": 0.9,
        "topK": 5,
        "maxOutputTokens": 7,
        "stopSequences": ["E"],
        "candidateCount": 2,
        "seed": 3,
        "frequencyPenalty": 1,
        "presencePenalty": -1,
        "responseLogprobs": True,
        "logprobs": 2,
    }
    assert refused(PRO3, n=2)["param"] == "n"


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        (FLASH, "low", {"thinkingBudget": 1024, "includeThoughts": True}),
        (FLASH, "none", {"thinkingBudget": 0, "includeThoughts": False}),
        (FLASH, None, {"includeThoughts": True}),
        (PRO3, "medium", {"thinkingLevel": "high", "includeThoughts": True}),
        ("google/gemini-2.5-flash-lite", None, None),
        ("google/gemini-2.0-flash-001", "low", None),
    ],
)
def test_an_effort_becomes_a_budget_or_a_level(model: str, effort: str | None, config: Any) -> None:
    assert body(model, reasoning_effort=effort)["generationConfig"].get("thinkingConfig") == config


def test_structured_output_is_json_with_the_client_s_own_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    made = body(FLASH, response_format=wanted)["generationConfig"]
    assert (made["responseMimeType"], made["responseJsonSchema"]) == ("application/json", schema)
    assert "responseJsonSchema" not in body(FLASH, response_format={"type": "json_object"})["generationConfig"]


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (None, None),
        ("auto", {"mode": "AUTO"}),
        ("required", {"mode": "ANY"}),
        ("none", {"mode": "NONE"}),
        ({"type": "function", "function": {"name": "weather"}}, {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
    ],
)
def test_tools_and_tool_choice(choice: Any, config: Any) -> None:
    made = body(FLASH, tools=[TOOL, {"type": "function", "function": {"name": "now"}}], tool_choice=choice)
    declared = made["tools"][0]["functionDeclarations"]
    assert declared[0]["parametersJsonSchema"] == TOOL["function"]["parameters"]
    assert declared[1] == {"name": "now"}
    assert made.get("toolConfig", {}).get("functionCallingConfig") == config


def test_parallel_results_are_one_turn_named_by_the_call_they_answer() -> None:
    second = {**CALL, "id": "call_2", "function": {"name": "now", "arguments": ""}}
    results = [RESULT, {"role": "tool", "tool_call_id": "call_2", "content": "세 시"}]
    made = body(FLASH, messages=[*ASK, {**TURN, "tool_calls": [CALL, second]}, *results])["contents"]
    assert [part["functionCall"]["args"] for part in made[1]["parts"]] == [{"city": "서울"}, {}]
    assert [part["functionResponse"] for part in made[2]["parts"]] == [
        {"name": "weather", "response": {"sky": "맑음"}},
        {"name": "now", "response": {"result": "세 시"}},
    ]
    assert refused(FLASH, messages=[*ASK, RESULT])["param"] == "messages"


def test_the_signature_of_a_call_comes_back_through_its_id() -> None:
    given = message(answered(call(PRO3, tools=[TOOL]), "tool=weather calls=2"))["message"]["tool_calls"]
    results = [{"role": "tool", "tool_call_id": each["id"], "content": "맑음"} for each in given]
    history = [*ASK, {"role": "assistant", "content": None, "tool_calls": given}, *results]
    parts = body(PRO3, tools=[TOOL], messages=history)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [SIGNATURE, None]
    other = body(FLASH, tools=[TOOL], messages=history)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in other] == [None, None]


def test_a_lost_signature_is_replaced_where_the_model_insists_on_one() -> None:
    history = [*ASK, {**TURN, "tool_calls": [CALL, {**CALL, "id": "call_2"}]}, RESULT]
    parts = body(PRO3, messages=history)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [NO_SIGNATURE, None]


def test_another_provider_gets_a_plain_id_of_at_most_forty_characters() -> None:
    given = message(answered(call(PRO3, tools=[TOOL]), "tool=weather"))["message"]["tool_calls"]
    history = [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": given},
        {"role": "tool", "tool_call_id": given[0]["id"], "content": "맑음"},
    ]
    openai = body("openai/gpt-4o", messages=history)["messages"]
    claude = body("anthropic/claude-haiku-4.5", messages=history)["messages"]
    plain = openai[1]["tool_calls"][0]["id"]
    assert len(plain) <= 40 and plain == openai[2]["tool_call_id"] == claude[1]["content"][0]["id"]
    assert claude[2]["content"][0]["tool_use_id"] == plain


def test_pictures_at_urls_are_asked_for_once_and_sent_inside() -> None:
    picture = {"type": "image_url", "image_url": {"url": URL}}
    messages = [{"role": "user", "content": [picture, PNG, picture, {"type": "text", "text": "?"}]}]
    made = call(FLASH, messages=messages)
    assert adapter_of(made).to_fetch(made) == (URL,)
    parts = body(FLASH, messages=messages, fetched={URL: Fetched("image/webp", b"webp")})["contents"][0]["parts"]
    assert parts[0] == {"inlineData": {"mimeType": "image/webp", "data": "d2VicA=="}}
    assert parts[1] == {"inlineData": {"mimeType": "image/png", "data": PICTURE}}
    assert "could not be loaded" in refused(FLASH, messages=messages)["message"]
    claude = call("anthropic/claude-haiku-4.5", messages=messages)
    assert adapter_of(claude).to_fetch(claude) == ()


def test_a_model_that_draws_gets_modalities_and_image_config() -> None:
    plain = body(DRAWS)["generationConfig"]
    assert plain["responseModalities"] == ["TEXT", "IMAGE"]
    made = body(DRAWS, modalities=["image"], image_config={"aspect_ratio": "16:9", "imageSize": "2K"})
    assert made["generationConfig"]["responseModalities"] == ["IMAGE"]
    assert made["generationConfig"]["imageConfig"] == {"aspectRatio": "16:9", "imageSize": "2K"}
    assert "responseModalities" not in body(FLASH, modalities=["text"])["generationConfig"]


def test_drawn_pictures_go_back_with_their_signatures() -> None:
    drawn = message(answered(call(DRAWS3), "tokens=1 images=1"))["message"]
    history = [*ASK, {"role": "assistant", "content": drawn["content"], "images": drawn["images"]}, *ASK]
    parts = body(DRAWS3, messages=history)["contents"][1]["parts"]
    assert parts[1]["inlineData"]["data"] == PICTURE
    assert parts[1]["thoughtSignature"] == SIGNATURE


EVERYTHING: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [PNG, {"type": "text", "text": "뭐지?"}]},
        TURN,
        RESULT,
    ],
    "stop": ["E"],
    "seed": 1,
    "top_k": 4,
    "max_tokens": 100,
}


@pytest.mark.parametrize("model", [FLASH, PRO3, DRAWS, DRAWS3, "google/gemini-2.0-flash-001"])
@pytest.mark.parametrize("more", [{}, {"reasoning_effort": "low"}, {"image_config": {"aspect_ratio": "1:1"}}])
def test_the_official_sdk_s_types_accept_what_is_sent(model: str, more: dict[str, Any]) -> None:
    tools: dict[str, Any] = {} if model in (DRAWS, DRAWS3) else {"tools": [TOOL], "tool_choice": "required"}
    made = body(model, **EVERYTHING, **tools, **more)
    for content in [*made["contents"], made["systemInstruction"]]:
        types.Content.model_validate(content)
    for tool in made.get("tools", []):
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(made.get("toolConfig", {}))
    types.GenerationConfig.model_validate({k: v for k, v in made["generationConfig"].items() if k != "imageConfig"})
    types.GenerateContentConfig.model_validate(made["generationConfig"])
    assert made.keys() <= {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"}
