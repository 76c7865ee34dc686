"""What the chat body may say, what is refused, and what is quietly left out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.dialects import chat
from api.json_depth import too_deep
from gateway.catalogue.model import Model
from gateway.catalogue.packaged import builtin
from gateway.errors import InvalidRequest

MODELS = builtin().models
GPT, CLAUDE, GPT5 = MODELS["openai/gpt-4o"], MODELS["anthropic/claude-sonnet-4.5"], MODELS["openai/gpt-5"]


def parsed(**fields: Any) -> chat.ChatBody:
    given_fields = {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}
    return chat.parse(msgspec.json.encode(given_fields), 64)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"presence_penalty": -2.5}, "presence_penalty"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"tools": {}}, "tools"),
    ],
)
def test_a_wrong_parameter_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(**fields)
    named = refused.value.param or ""
    # the parser says "[...]" where it does not count
    assert named.replace("[...]", "[0]") == param
    assert refused.value.message


def test_null_is_absent_and_unknown_fields_pass() -> None:
    names = (
        "stream",
        "n",
        "max_tokens",
        "temperature",
        "top_p",
        "tools",
        "stream_options",
        "user",
        "top_k",
        "verbosity",
    )
    body = parsed(**dict.fromkeys(names), service_tier="auto", logit_bias={"1": 2}, future=[1])
    assert chat.check_for(body, GPT) == []


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", [0, -1, GPT.max_output_tokens + 1])
def test_an_output_limit_that_the_model_does_not_have_is_refused_by_name(name: str, value: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        chat.check_for(parsed(**{name: value}), GPT)
    assert refused.value.param == name
    assert chat.check_for(parsed(**{name: GPT.max_output_tokens}), GPT) == []


def test_extensions_that_a_model_lacks_are_left_out_even_where_wrong() -> None:
    body = parsed(top_k=0, repetition_penalty="loud", min_p=7)
    assert chat.check_for(body, GPT) == ["top_k", "repetition_penalty", "min_p"]


@pytest.mark.parametrize("value", [0, 101, 1.5, True, "5"])
def test_an_extension_that_a_model_has_must_be_in_its_range(value: Any) -> None:
    assert CLAUDE.supports("top_k")
    assert chat.check_for(parsed(top_k=40), CLAUDE) == []
    with pytest.raises(InvalidRequest, match="top_k"):
        chat.check_for(parsed(top_k=value), CLAUDE)


def test_a_tier_that_has_no_price_here_does_not_travel() -> None:
    assert chat.check_for(parsed(service_tier="priority"), GPT) == ["service_tier"]
    assert chat.check_for(parsed(service_tier="default"), GPT) == []


def test_a_wrong_effort_or_verbosity_is_removed_and_the_request_goes_on() -> None:
    assert chat.check_for(parsed(verbosity="low", reasoning_effort="minimal"), GPT5) == []
    assert chat.check_for(parsed(verbosity="loud", reasoning_effort=["high"]), GPT5) == [
        "verbosity",
        "reasoning_effort",
    ]
    assert chat.check_for(parsed(verbosity="low", reasoning_effort="low"), GPT) == ["verbosity", "reasoning_effort"]


def test_removing_a_field_leaves_the_others_byte_for_byte() -> None:
    raw = b'{"a": 1.50, "top_k":5, "b": {"x" : "\\u00e9"}}'
    assert chat.without(raw, ["top_k"]) == b'{"a":1.50,"b":{"x" : "\\u00e9"}}'


def test_size_counts_what_models_read_and_images_by_number() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}
    tool = {"type": "function", "function": {"name": "f"}}
    body = parsed(
        messages=[
            {"role": "system", "content": "한국어"},
            {"role": "user", "content": [{"type": "text", "text": "abc"}, picture]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        ],
        tools=[tool],
    )
    size = chat.measure(body)
    assert (size.messages, size.tools, size.images) == (3, 1, 1)
    assert size.written == len("한국어".encode()) + 3
    assert size.text == len("한국어".encode()) + 3 + len(b'[{"id":"1"}]') + len(msgspec.json.encode(tool))


TOO_LONG = "messages: context_length_exceeded"


def refused_for_room(*models: Model, **fields: Any) -> str | None:
    body = parsed(**fields)
    try:
        chat.check_room(body, chat.measure(body), models)
    except InvalidRequest as refused:
        return f"{refused.param}: {refused.public_code}"
    return None


def test_what_certainly_fits_no_model_of_the_call_is_refused_before_it_leaves() -> None:
    words = [{"role": "user", "content": "word and " * (GPT.context_length * 8 // 9 + 1)}]
    assert refused_for_room(GPT, messages=words) == TOO_LONG
    assert refused_for_room(GPT, GPT5, messages=words) is None
    half = [{"role": "user", "content": "x" * (GPT.context_length * 8 - 8 * 16_000)}]
    assert refused_for_room(GPT, messages=half) is None
    assert refused_for_room(GPT, messages=half, max_tokens=16_384) == TOO_LONG


def test_files_and_pictures_are_not_taken_for_words() -> None:
    file = {"type": "file", "file": {"file_data": "data:application/pdf;base64," + "A" * 2_000_000}}
    sound = {"type": "input_audio", "input_audio": {"data": "A" * 2_000_000, "format": "wav"}}
    assert refused_for_room(GPT, messages=[{"role": "user", "content": [file, sound]}]) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('a"[]{}\\'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{}"\\'), inner, max_size=3),
    max_leaves=30,
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((depth_of(v) for v in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth_of(v) for v in value), default=0)
    return 0


@given(JSON, st.integers(0, 5))
def test_depth_is_found_without_parsing(value: Any, most: int) -> None:
    assert too_deep(msgspec.json.encode(value), most) == (depth_of(value) > most)


@given(st.binary(max_size=200))
def test_no_bytes_whatever_break_the_parser(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        chat.parse(raw, 64)
