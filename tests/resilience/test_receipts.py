"""A call that failed over, was hedged or was continued is charged as one undisturbed call, and its receipt says it all."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.resilience.conftest import ANSWER, MODEL, TOKENS, Host, Said, Scene, attempts

DEARER, CHEAPER, TIERED = "openai/gpt-4o-2024-05-13", "openai/gpt-4o-mini", "anthropic/claude-sonnet-4"
USD = {MODEL: ("2.5", "10"), DEARER: ("5", "15"), CHEAPER: ("0.15", "0.6"), TIERED: ("3", "15")}
LONG = ("6", "22.5")
THRESHOLD = 200_000
FRAMING = 3 + 4
"""Tokens of a request with one message besides its text, as the mock counts."""
FAULTS = {
    "reset": ("cut=0", "connect"),
    "down": ("error=500", "server"),
    "silent": ("stall=0", "slower"),
    "cut-1": ("cut=1", "cut"),
    "cut-12": ("cut=12", "cut"),
    "cut-23": ("cut=23", "cut"),
    "stalled": ("stall=12", "stalled"),
}
ELSEWHERE = {
    f"at-{at}-{name}": (at, model)
    for at in (0, 1, 12, TOKENS - 1)
    for name, model in (("up", DEARER), ("down", CHEAPER))
}


@pytest.fixture(scope="module")
def scene(resilient: Scene) -> Scene:
    """For each case a host that fails and one that does not."""
    hosts = [Host("calm")]
    for name, (does, _) in FAULTS.items():
        for way in ("sse", "json"):
            hosts += [Host(f"same-{name}-{way}-a", does, way=way), Host(f"same-{name}-{way}-b")]
    for name, (at, model) in ELSEWHERE.items():
        hosts += [Host(f"{name}-a", f"cut={at}"), Host(f"{name}-b", model=model)]
    for name in ("under", "over"):
        hosts += [Host(f"{name}-a", "cut=9", TIERED, 1, "anthropic"), Host(f"{name}-b", "", TIERED, 1, "anthropic")]
    resilient.serve(hosts)
    return resilient


def adds_up(receipt: dict[str, Any], said: Said) -> Decimal:
    """The charge, once it has been worked out by hand from the receipt, and found to be what the answer said."""
    total = Decimal(0)
    for charge in receipt["charges"]:
        usd_micro = charge["prompt_tokens"] * Decimal(charge["input_usd_per_1m"])
        usd_micro += charge["completion_tokens"] * Decimal(charge["output_usd_per_1m"])
        assert usd_micro * Decimal(charge["krw_per_usd"]) / 1_000_000 == Decimal(charge["cost_krw"])
        total += Decimal(charge["cost_krw"])
    assert total == Decimal(receipt["cost_krw"]) == Decimal(said.usage["cost_krw"])
    assert sum(Decimal(attempt["cost_krw"]) for attempt in receipt["attempts"]) == total
    assert receipt["usage"]["prompt_tokens"] == said.usage["prompt_tokens"]
    assert receipt["usage"]["completion_tokens"] == said.usage["completion_tokens"]
    return total


def listed(receipt: dict[str, Any], said: Said) -> list[tuple[str, str]]:
    """Host and reason of the receipt's attempts, which are those that the answer told; each has its times."""
    found = [(attempt["provider"], attempt["reason"]) for attempt in receipt["attempts"]]
    assert found == attempts(said)
    for attempt in receipt["attempts"]:
        assert 0 < attempt["started_ms"] <= attempt["ended_ms"]
        assert Decimal(attempt["cost_krw"]) == 0 or attempt["billed"]
    return found


@pytest.mark.parametrize("way", ["sse", "json"])
@pytest.mark.parametrize("fault", FAULTS)
def test_the_same_model_elsewhere_costs_what_an_undisturbed_call_costs(scene: Scene, fault: str, way: str) -> None:
    stream, name = way == "sse", f"same-{fault}-{way}"
    calm = scene.ask(["calm"], stream=stream)
    disturbed = scene.ask([f"{name}-a", f"{name}-b"], stream=stream)
    assert disturbed.content == calm.content == ANSWER
    receipt = scene.receipt(disturbed)
    assert adds_up(receipt, disturbed) == Decimal(calm.usage["cost_krw"]) > 0
    assert disturbed.usage["prompt_tokens"] == calm.usage["prompt_tokens"]
    told = listed(receipt, disturbed)
    assert len(told) > 1 and told.count((f"{name}-b", "ok")) == 1
    assert FAULTS[fault][1] in [reason for _, reason in told] or not stream
    assert receipt["outcome"] == "complete"


@pytest.mark.parametrize("case", ELSEWHERE)
def test_each_delivered_token_costs_what_the_model_takes_that_made_it(scene: Scene, case: str) -> None:
    at, model = ELSEWHERE[case]
    said = scene.ask([f"{case}-a", f"{case}-b"], stream=True, models=[MODEL, model])
    assert (said.content, said.complete) == (ANSWER, True)
    receipt = scene.receipt(said)
    adds_up(receipt, said)
    prompt = FRAMING + 2
    first = MODEL if at else model
    expected = [(MODEL, prompt, at), (model, 0, TOKENS - at)] if at else [(model, prompt, TOKENS)]
    charges = receipt["charges"]
    assert [(c["model"], c["prompt_tokens"], c["completion_tokens"]) for c in charges] == expected
    assert [(c["input_usd_per_1m"], c["output_usd_per_1m"]) for c in charges] == [USD[name] for name, _, _ in expected]
    assert (receipt["model"], receipt["requested_model"]) == (first, MODEL)
    told = listed(receipt, said)
    assert told == [(f"{case}-a", "cut" if at else "connect"), (f"{case}-b", "ok")]
    assert [Decimal(a["cost_krw"]) > 0 for a in receipt["attempts"]] == [at > 0, True]


@pytest.mark.parametrize(
    ("name", "more", "tier", "usd"), [("under", 0, "base", USD[TIERED]), ("over", 1, "long", LONG)]
)
def test_the_original_input_alone_decides_the_tier(
    scene: Scene, name: str, more: int, tier: str, usd: tuple[str, str]
) -> None:
    text = "word" * (THRESHOLD - FRAMING + more)
    said = scene.ask([f"{name}-a", f"{name}-b"], stream=True, model=TIERED, text=text)
    assert (said.content, said.complete) == (ANSWER, True)
    served = [call.prompt_tokens for call in [*scene.calls(f"{name}-a"), *scene.calls(f"{name}-b")]]
    assert served[0] == THRESHOLD + more < served[1], "what continues reads more than the threshold"
    receipt = scene.receipt(said)
    adds_up(receipt, said)
    (charge,) = receipt["charges"]
    assert (charge["prompt_tokens"], charge["completion_tokens"], charge["tier"]) == (THRESHOLD + more, TOKENS, tier)
    assert (charge["input_usd_per_1m"], charge["output_usd_per_1m"]) == usd


def test_an_answer_that_stayed_broken_costs_what_was_delivered_and_an_error_nothing(scene: Scene) -> None:
    scene.serve([Host("broken", "cut=9"), Host("refused", "refuse=policy")])
    broken, refused = scene.ask(["broken"], stream=True), scene.ask(["refused"], stream=True)
    assert ANSWER.startswith(broken.content) and broken.content != ANSWER
    receipt = scene.receipt(broken)
    (charge,) = receipt["charges"]
    assert (receipt["outcome"], receipt["estimated"]) == ("failed", True)
    assert charge["completion_tokens"] == len(broken.content) // 4
    assert sum(Decimal(a["cost_krw"]) for a in receipt["attempts"]) == Decimal(receipt["cost_krw"]) > 0
    nothing = scene.receipt(refused)
    assert (nothing["cost_krw"], nothing["charges"], nothing["outcome"]) == ("0", [], "failed")
    assert [(a["reason"], a["cost_krw"]) for a in nothing["attempts"]] == [("content_policy", "0")]
