"""Where nobody can give the answer, or nobody may: the truth, quickly, and never something that looks complete."""

from __future__ import annotations

import http.client
import json
from typing import Any

import httpx
import openai
import pytest

from tests.operating import until
from tests.provider.dialects.openai import answer_text
from tests.resilience.conftest import ANSWER, MODEL, Host, Scene, attempts

SAME, SMALLER, LARGER = "openai/gpt-4o-mini", "openai/gpt-3.5-turbo-16k", "openai/gpt-4.1"
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
HOSTS = [
    Host("all-down-a", "error=503"), Host("all-down-b", "error=503"),
    Host("one-cut", "cut=9"), Host("one-cut-json", "cut=9"), Host("once-cut", "cut=9 times=1"), Host("one-cut-0", "cut=0"),
    Host("paused-sse", "error=429 retry_after=30"), Host("paused-json", "error=429 retry_after=30"),
    Host("no-key", "refuse=key"), Host("no-balance", "refuse=balance"),
    Host("long", "refuse=context"), Host("long", model=SAME), Host("long", model=LARGER),
    Host("long-only", "refuse=context"), Host("long-only", "", SAME),
    Host("policy", "refuse=policy"), Host("policy-other"), Host("policy", model=LARGER),
    Host("filter", "finish=content_filter flavour=tags tokens=3"), Host("filter-other"),
    Host("bad", "error=400"), Host("bad-other"),
    Host("tool-a", "cut=2"), Host("tool-b"),
    Host("odd", "unreadable=9"), Host("two", "cut=9"), Host("two-other"),
    Host("left", "delay=50ms tokens=500"), Host("left-mute", "stall=0"), Host("left-other", "stall=0"),
    Host("dear", "error=500"), Host("dear", model=SAME),
    Host("many", "error=500"), *(Host(f"many-{i}", "error=500") for i in range(12)),
]  # fmt: skip  # a table


@pytest.fixture(scope="module")
def scene(resilient: Scene) -> Scene:
    """Every host of the table."""
    resilient.serve(HOSTS)
    return resilient


both_ways = pytest.mark.parametrize("stream", [True, False], ids=["sse", "json"])


def error_of(text: str) -> dict[str, Any]:
    """The error object of a JSON answer, or of a stream's last event."""
    return json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))["error"]


@both_ways
def test_where_all_are_down_the_providers_own_words_come_through(scene: Scene, stream: bool) -> None:
    said = scene.ask(["all-down-a", "all-down-b"], stream=stream)
    assert (said.status, said.headers["x-wonrouter-error-source"]) == (503, "provider")
    assert error_of(said.text)["message"] == "mock error 503"
    hosts = [host for host, _ in attempts(said)]
    assert hosts in ([*["all-down-a"] * 2, *["all-down-b"] * 2], [*["all-down-b"] * 2, *["all-down-a"] * 2])


def test_attempts_for_one_request_are_bounded(scene: Scene) -> None:
    said = scene.ask(["many", *(f"many-{i}" for i in range(12))], stream=True)
    assert said.status == 500
    assert (
        len(attempts(said)) == sum(len(scene.calls(name)) for name in ("many", *(f"many-{i}" for i in range(12)))) == 8
    )


@both_ways
def test_a_connection_that_is_reset_twice_is_a_bad_gateway(scene: Scene, stream: bool) -> None:
    said = scene.ask(["one-cut-0"], stream=stream)
    assert (said.status, error_of(said.text)["code"]) == (502, "provider_unavailable")
    assert attempts(said) == [("one-cut-0", "connect")] * 2


def test_a_stream_that_nobody_can_finish_ends_in_an_error_that_the_sdk_raises(scene: Scene) -> None:
    said = scene.ask(["one-cut"], stream=True)
    assert not said.complete and "[DONE]" not in said.text
    assert ANSWER.startswith(said.content) and 0 < len(said.content) < len(ANSWER)
    assert error_of(said.text)["code"] == "stream_interrupted"
    client = openai.OpenAI(base_url=f"{scene.installation.root}/api/v1", api_key=scene.key, max_retries=0)
    with client, pytest.raises(openai.APIError, match="broke off"):
        list(
            client.chat.completions.create(
                model=MODEL,
                messages=[{"role": "user", "content": "hello"}],
                stream=True,
                extra_body={"provider": {"order": ["one-cut"], "allow_fallbacks": False}},
            )
        )


def test_half_an_answer_is_no_answer_where_it_is_not_streamed(scene: Scene) -> None:
    said = scene.ask(["one-cut-json"], stream=False)
    assert (said.status, error_of(said.text)["code"]) == (502, "provider_unavailable")
    assert attempts(said) == [("one-cut-json", "cut")] * 2


def test_the_only_host_goes_on_with_its_own_answer(scene: Scene) -> None:
    said = scene.ask(["once-cut"], stream=True)
    assert (said.content, said.complete, attempts(said)) == (ANSWER, True, [("once-cut", "cut"), ("once-cut", "ok")])


def test_a_tool_call_that_breaks_off_is_an_error_and_never_an_end(scene: Scene) -> None:
    said = scene.ask(["tool-a", "tool-b"], stream=True, tools=TOOLS, tool_choice="required")
    assert not said.complete and "[DONE]" not in said.text
    assert error_of(said.text)["code"] == "stream_interrupted"
    assert scene.calls("tool-b") == []


def test_several_choices_that_break_off_are_an_error_and_never_an_end(scene: Scene) -> None:
    said = scene.ask(["two", "two-other"], stream=True, n=2)
    assert not said.complete and "[DONE]" not in said.text
    assert error_of(said.text)["code"] == "stream_interrupted"
    assert scene.calls("two-other") == []


def test_a_tool_call_that_breaks_off_unseen_is_asked_for_again(scene: Scene) -> None:
    said = scene.ask(["tool-a", "tool-b"], stream=False, tools=TOOLS, tool_choice="required")
    (call,) = said.whole["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"echo": "hello"}
    assert attempts(said) == [("tool-a", "cut"), ("tool-b", "ok")]


@both_ways
def test_where_all_pause_the_first_is_told_as_it_came_and_the_next_at_once(scene: Scene, stream: bool) -> None:
    host = "paused-sse" if stream else "paused-json"
    first = scene.ask([host], stream=stream)
    assert (first.status, first.headers["retry-after"]) == (429, "30")
    told = until(lambda: answer if (answer := scene.ask([host], stream=stream)).status != 429 else None, "the pause")
    assert (told.status, error_of(told.text)["code"]) == (503, "service_unavailable")
    assert 20 <= int(told.headers["retry-after"]) <= 30
    assert len(scene.calls(host)) <= 2, "each of two workers asked once, at most"


@pytest.mark.parametrize("host", ["no-key", "no-balance"])
@both_ways
def test_what_is_wrong_with_our_account_is_a_bad_gateway_and_nothing_of_it_is_told(
    scene: Scene, host: str, stream: bool
) -> None:
    said = scene.ask([host], stream=stream)
    assert (said.status, error_of(said.text)["code"]) == (502, "provider_unavailable")
    assert "key" not in said.text.lower() and "balance" not in said.text.lower()
    assert attempts(said) == [(host, "credentials")]


@both_ways
def test_a_context_that_is_too_long_goes_only_to_a_larger_one(scene: Scene, stream: bool) -> None:
    before = {
        model: len([c for c in scene.calls("long") if c.model.endswith(model)]) for model in ("4o", "mini", "4.1")
    }
    said = scene.ask(["long"], stream=stream, models=[MODEL, SAME, LARGER])
    assert (said.status, said.content) == (200, ANSWER)
    after = {model: len([c for c in scene.calls("long") if c.model.endswith(model)]) for model in ("4o", "mini", "4.1")}
    assert {model: after[model] - before[model] for model in after} == {"4o": 1, "mini": 0, "4.1": 1}
    assert [reason for _, reason in attempts(said)] == ["context_length", "ok"]
    assert {event["model"] for event in said.events} == {LARGER} if stream else said.whole["model"] == LARGER


@both_ways
def test_a_context_that_fits_nowhere_is_told_as_it_came(scene: Scene, stream: bool) -> None:
    said = scene.ask(["long-only"], stream=stream, models=[MODEL, SAME])
    assert (said.status, error_of(said.text)["code"]) == (400, "context_length_exceeded")
    assert attempts(said) == [("long-only", "context_length")]


@both_ways
def test_a_refusal_by_policy_is_final_and_its_reason_is_told(scene: Scene, stream: bool) -> None:
    said = scene.ask(["policy", "policy-other"], stream=stream, models=[MODEL, LARGER])
    assert (said.status, said.headers["x-wonrouter-error-source"]) == (400, "provider")
    assert error_of(said.text)["code"] == "content_policy_violation"
    assert "safety system" in error_of(said.text)["message"]
    assert attempts(said) == [("policy", "content_policy")]
    assert scene.calls("policy-other") == []


@both_ways
def test_an_answer_that_a_provider_filters_is_not_asked_for_elsewhere(scene: Scene, stream: bool) -> None:
    said = scene.ask(["filter", "filter-other"], stream=stream)
    assert (said.status, said.content) == (200, answer_text(3))
    choices = [c for event in said.events for c in event["choices"]] if stream else said.whole["choices"]
    assert [c["finish_reason"] for c in choices if c["finish_reason"]] == ["content_filter"]
    assert scene.calls("filter-other") == []


@both_ways
def test_a_bad_request_is_told_as_it_came(scene: Scene, stream: bool) -> None:
    said = scene.ask(["bad", "bad-other"], stream=stream)
    assert (said.status, error_of(said.text)["message"]) == (400, "mock error 400")
    assert scene.calls("bad-other") == []


def test_an_unreadable_event_is_skipped_and_told_where_nobody_else_is(scene: Scene) -> None:
    said = scene.ask(["odd"], stream=True)
    assert (said.content, said.complete) == (ANSWER, True)
    assert [w["code"] for w in said.events[-1]["wonrouter"]["warnings"]] == ["unreadable_event"]


@both_ways
def test_a_stand_in_is_named_as_what_it_is(scene: Scene, stream: bool) -> None:
    said = scene.ask(["dear"], stream=stream, models=[MODEL, SAME])
    assert (said.status, said.content) == (200, ANSWER)
    assert {event["model"] for event in said.events} == {SAME} if stream else said.whole["model"] == SAME
    assert [reason for _, reason in attempts(said)] == ["server", "server", "ok"]


def test_a_client_that_leaves_ends_every_attempt(scene: Scene) -> None:
    server = httpx.URL(scene.url)
    for order in (["left"], ["left-mute", "left-other"]):
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": "hello"}],
            "stream": order == ["left"],
            "provider": {"order": order, "allow_fallbacks": False},
        }
        client = http.client.HTTPConnection(server.host, server.port)
        headers = {"X-API-Key": scene.key, "Content-Type": "application/json"}
        client.request("POST", server.path, json.dumps(body), headers)
        scene.mock.log.wait_for(lambda _, host=order[0]: bool(scene.calls(host)))
        if body["stream"]:
            client.getresponse().read(1)
        client.close()
    scene.mock.log.wait_for(
        lambda _: all(scene.calls(name) and scene.calls(name)[-1].closed_early for name in ("left", "left-mute"))
    )
    assert len(scene.calls("left")) == len(scene.calls("left-mute")) == 1
    assert scene.calls("left-other") == []
