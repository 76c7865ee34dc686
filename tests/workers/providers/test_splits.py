"""Any split of an answer's bytes gives the same events, in every dialect."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.providers.calls import TOOL, call, plan, raw, read
from workers.providers.base import Done, Event, ProviderCall

_CLAUDE = call("anthropic/claude-opus-4.5", tools=[TOOL], reasoning_effort="low", seed=1)
_GEMINI = call("google/gemini-3-pro-preview", tools=[TOOL])
_GROK = call("x-ai/grok-4", tools=[TOOL])
_THINKER = call("minimax/minimax-m1")


def _tagged() -> bytes:
    deltas = ["<th", "ink>생각", " 중</thi", "nk>\n\n", "답 < 답"]
    chunks = [{"id": "x", "choices": [{"index": 0, "delta": {"content": text}}]} for text in deltas]
    chunks.append({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events = [
        b": keep-alive\r\n\r\n" + b"data: " + json.dumps(c, ensure_ascii=False).encode() + b"\r\n\r\n" for c in chunks
    ]
    return b"".join(events) + b"data: [DONE]\n\n"


def _broken(made: ProviderCall) -> bytes:
    answer = plan(made, "tokens=3")
    return answer.head + answer.ping + answer.piece(0) + answer.unreadable + answer.piece(1) + answer.error_event


BODIES: dict[str, tuple[ProviderCall, bytes]] = {
    "anthropic tools": (_CLAUDE, raw(plan(_CLAUDE, "think=3 tool=weather calls=2"))),
    "anthropic text": (_CLAUDE, raw(plan(_CLAUDE, "think=2 tokens=4"))),
    "anthropic broken": (_CLAUDE, _broken(_CLAUDE)),
    "gemini tools": (_GEMINI, raw(plan(_GEMINI, "think=2 tool=weather calls=2"))),
    "gemini text and pictures": (_GEMINI, raw(plan(_GEMINI, "think=1 tokens=3 images=1"))),
    "gemini broken": (_GEMINI, _broken(_GEMINI)),
    "openai": (call("openai/gpt-4o"), raw(plan(call("openai/gpt-4o"), "tokens=4 cached=2"))),
    "compatible": (_GROK, raw(plan(_GROK, "flavour=xai tool=weather think=2"))),
    "openai tools": (
        call("openai/gpt-4o", tools=[TOOL]),
        raw(plan(call("openai/gpt-4o", tools=[TOOL]), "tool=weather")),
    ),
    "openai broken": (call("openai/gpt-4o"), _broken(call("openai/gpt-4o"))),
    "think tags": (_THINKER, _tagged()),
}


def _once(name: str) -> list[Event]:
    made, data = BODIES[name]
    return read(made, data)


@pytest.mark.parametrize("name", BODIES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_split_gives_the_same_events(name: str, data: st.DataObject) -> None:
    made, body = BODIES[name]
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=12))
    assert read(made, body, cuts) == _once(name)


@pytest.mark.parametrize("name", BODIES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_split_of_the_compressed_bytes_gives_the_same_events(name: str, data: st.DataObject) -> None:
    made, body = BODIES[name]
    packed = gzip.compress(body)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(packed)), max_size=12)))
    pieces = [packed[a:b] for a, b in pairwise([0, *cuts, len(packed)])]
    response = httpx.Response(200, headers={"content-encoding": "gzip"}, content=iter(pieces))
    ends: list[int] = []
    for piece in response.iter_bytes():  # as the worker's transport reads a body that is compressed
        ends.append((ends[-1] if ends else 0) + len(piece))
    assert ends[-1] == len(body)
    assert read(made, body, ends) == _once(name)


@pytest.mark.parametrize("name", BODIES)
def test_one_byte_at_a_time_gives_the_same_events(name: str) -> None:
    made, body = BODIES[name]
    assert read(made, body, range(len(body))) == _once(name)
    assert isinstance(_once(name)[-1], Done) != name.endswith("broken")


@pytest.mark.parametrize("name", [name for name in BODIES if not name.endswith("broken")])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_stream_that_is_cut_anywhere_never_looks_complete_before_its_finish_reason(
    name: str, data: st.DataObject
) -> None:
    made, body = BODIES[name]
    marks = (b'"stop_reason": "', b'"stop_reason":"', b'"finishReason"', b'"finish_reason": "', b'"finish_reason":"')
    finish = min(found for mark in marks if (found := body.find(mark)) > 0)
    events = read(made, body[: data.draw(st.integers(0, finish))])
    assert not any(isinstance(event, Done) for event in events)
