"""Whom a call goes to, and what follows a failure."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.catalogue.packaged import builtin
from gateway.deployments.deployment import Deployment
from workers.providers.base import FailureKind, ProviderFailure
from workers.providers.openai import OpenAI
from workers.routing.candidates import Candidate
from workers.routing.choose import Balance
from workers.routing.policy import MOST_ATTEMPTS, Plan


def candidate(name: str, weight: int = 1) -> Candidate:
    made = Deployment(name, "openai/gpt-4o", "openai", "https://host", "gpt-4o", weight=weight)
    return Candidate(builtin().models["openai/gpt-4o"], made, OpenAI())


def failure(kind: FailureKind, **more: float) -> ProviderFailure:
    return ProviderFailure(kind=kind, status=0, retry_after_s=more.get("retry_after_s"))


def test_weights_are_kept_exactly_and_without_runs() -> None:
    balance = Balance()
    three = [candidate("a", 70), candidate("b", 20), candidate("c", 10)]
    order = [balance.choose(three).deployment.id for _ in range(1000)]
    assert Counter(order) == {"a": 700, "b": 200, "c": 100}
    assert Counter(order[:10]) == {"a": 7, "b": 2, "c": 1}


def test_another_deployment_comes_before_the_same_again() -> None:
    a, b = candidate("a"), candidate("b")
    plan = Plan([[a, b]], Balance(), deadline=100)
    first = plan.first().candidate
    second = plan.after(first, failure("server"), now=0)
    assert second is not None
    assert (second.candidate is not first, second.wait_s) == (True, 0.0)


def test_the_only_deployment_is_asked_once_more_after_a_pause() -> None:
    a = candidate("a")
    plan = Plan([[a]], Balance(), deadline=100)
    plan.first()
    again = plan.after(a, failure("server"), now=0)
    assert again is not None
    assert 0 < again.wait_s < 1
    assert plan.after(a, failure("server"), now=1) is None


@pytest.mark.parametrize(
    ("kind", "retry_after_s"),
    [
        ("bad_request", None),
        ("context_length", None),
        ("content_policy", None),
        ("timeout", None),
        ("rate_limited", 60.0),
    ],
)
def test_what_would_fail_again_is_not_repeated(kind: FailureKind, retry_after_s: float | None) -> None:
    a = candidate("a")
    plan = Plan([[a]], Balance(), deadline=100)
    plan.first()
    assert plan.after(a, ProviderFailure(kind=kind, retry_after_s=retry_after_s), now=0) is None


def test_attempts_and_time_are_bounded() -> None:
    many = [candidate(str(i)) for i in range(20)]
    plan = Plan([many], Balance(), deadline=100)
    step = plan.first()
    asked = 1
    while (following := plan.after(step.candidate, failure("server"), now=0)) is not None:
        step, asked = following, asked + 1
    assert asked == MOST_ATTEMPTS
    late = Plan([many], Balance(), deadline=100)
    assert late.after(late.first().candidate, failure("server"), now=100) is None


def test_the_most_telling_failure_reaches_the_caller() -> None:
    a = candidate("a")
    plan = Plan([[a]], Balance(), deadline=100)
    for kind, status in (("rate_limited", 429), ("connect", 0), ("credentials", 401)):
        plan.failures.append(ProviderFailure(kind=kind, status=status))
    assert plan.telling().status == 429
