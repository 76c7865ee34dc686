"""The parameter rules of the public API, from the caller to what the provider receives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.operating import until
from tests.resilience.conftest import ANSWER, MODEL, Host, Scene

GPT5, CLAUDE, GEMINI, EXAONE = (
    "openai/gpt-5",
    "anthropic/claude-sonnet-4.5",
    "google/gemini-2.5-flash",
    "lgai/exaone-4.0-32b",
)
DIALECTS = {MODEL: "openai", GPT5: "openai", CLAUDE: "anthropic", GEMINI: "google", EXAONE: "openai"}
PLAIN = {"temperature": 0, "top_p": 1, "frequency_penalty": -2, "seed": 7, "stop": ["x"], "n": 2}


@pytest.fixture(scope="module")
def scene(resilient: Scene) -> Scene:
    """One host of every model of the tables."""
    resilient.serve([Host("parameters", "", model, 1, dialect) for model, dialect in DIALECTS.items()])
    return resilient


def received(scene: Scene, model: str) -> dict[str, Any]:
    """What the provider was sent last for a model."""
    return json.loads(scene.mock.bodies[Host("parameters", "", model).upstream])


@pytest.mark.parametrize(
    ("model", "sent", "arrives"),
    [
        (MODEL, {"top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1}, {}),
        (MODEL, {"top_k": 0, "min_p": 7, "repetition_penalty": "loud"}, {}),
        (CLAUDE, {"top_k": 40, "min_p": 0.1}, {"top_k": 40}),
        (EXAONE, {"min_p": 0.1, "repetition_penalty": 1.1}, {"min_p": 0.1, "repetition_penalty": 1.1}),
        (MODEL, PLAIN, PLAIN),
        (MODEL, {"future_parameter": {"a": 1}}, {"future_parameter": {"a": 1}}),
        (
            GPT5,
            {"verbosity": "low", "reasoning_effort": "minimal"},
            {"verbosity": "low", "reasoning_effort": "minimal"},
        ),
        (GPT5, {"verbosity": "loud", "reasoning_effort": "extreme"}, {}),
        (GPT5, {"verbosity": 3, "reasoning_effort": ["high"]}, {}),
        (
            GPT5,
            {"temperature": 0.2, "top_p": 0.5, "presence_penalty": 1, "max_tokens": 64},
            {"max_completion_tokens": 64},
        ),
        (MODEL, {"verbosity": "low", "reasoning_effort": "low"}, {}),
        (MODEL, {"max_tokens": 64, "user": None, "tools": None}, {"max_tokens": 64}),
    ],
)
def test_what_a_provider_receives_of_a_parameter(
    scene: Scene, model: str, sent: dict[str, Any], arrives: dict[str, Any]
) -> None:
    said = scene.ask(["parameters"], stream=False, model=model, **sent)
    assert (said.status, said.content) == (200, ANSWER)
    body = received(scene, model)
    names = {*sent, "max_completion_tokens"} - {"user", "tools"}
    assert {name: body[name] for name in names if name in body} == arrives


@pytest.mark.parametrize(
    ("model", "sent"),
    [(GPT5, {"verbosity": "piercing"}), (MODEL, {"reasoning_effort": "high"})],
    ids=["wrong", "lacks"],
)
def test_what_is_removed_is_logged(scene: Scene, model: str, sent: dict[str, Any]) -> None:
    (name,) = sent
    logs = list((scene.installation.state / "logs").glob("api*.log"))

    def warnings() -> list[str]:
        lines = [line for log in logs for line in log.read_text().splitlines()]
        return [line for line in lines if "parameter_removed" in line and name in line and model in line]

    before = len(warnings())
    assert scene.ask(["parameters"], stream=False, model=model, **sent).status == 200
    logged = until(lambda: warnings()[before:], "the warning in the log")
    assert "warning" in logged[0]


@pytest.mark.parametrize(
    ("sent", "param", "code"),
    [
        ({"max_tokens": 16_385}, "max_tokens", "invalid_request"),
        ({"max_completion_tokens": 16_385}, "max_completion_tokens", "invalid_request"),
        ({"max_tokens": 0}, "max_tokens", "invalid_request"),
        ({"text": "word and " * 120_000}, "messages", "context_length_exceeded"),
        ({"temperature": 2.1}, "temperature", "invalid_request"),
        ({"top_p": -0.1}, "top_p", "invalid_request"),
        ({"frequency_penalty": 2.1}, "frequency_penalty", "invalid_request"),
        ({"presence_penalty": -2.1}, "presence_penalty", "invalid_request"),
        ({"messages": []}, "messages", "invalid_request"),
        ({"model": CLAUDE, "top_k": 101}, "top_k", "invalid_request"),
        ({"model": EXAONE, "min_p": 1.1}, "min_p", "invalid_request"),
        ({"model": EXAONE, "repetition_penalty": 2.1}, "repetition_penalty", "invalid_request"),
    ],
)
@pytest.mark.parametrize("stream", [True, False], ids=["sse", "json"])
def test_what_is_out_of_range_is_refused_by_name_before_the_call(
    scene: Scene, sent: dict[str, Any], param: str, code: str, stream: bool
) -> None:
    before = len(scene.calls("parameters"))
    said = scene.ask(["parameters"], stream=stream, **sent)
    error = said.whole["error"]
    assert (said.status, error["param"], error["code"], error["type"]) == (400, param, code, "invalid_request_error")
    assert len(scene.calls("parameters")) == before
