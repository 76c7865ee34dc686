"""Whom a call goes to, and what follows a failure."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from gateway.catalogue.packaged import builtin
from gateway.deployments.deployment import Deployment
from gateway.wire.job import Job, JobTerms
from workers.providers.base import FailureKind, ProviderFailure
from workers.providers.openai import OpenAI
from workers.routing.candidates import Candidate, candidates
from workers.routing.choose import Balance
from workers.routing.policy import Again, Limits, Others, Plan, Step
from workers.routing.preferences import Preferences, preferences

GPT4O = "openai/gpt-4o"


def candidate(name: str, weight: int = 1, model: str = GPT4O, **changes: Any) -> Candidate:
    made = Deployment(name, model, "openai", "https://host", "upstream", weight=weight)
    return Candidate(msgspec.structs.replace(builtin().models[model], **changes), made, OpenAI())


def job_for(routing: bytes) -> Job:
    """A call of one model, with those wishes."""
    terms = {GPT4O: JobTerms("p", "r", "1", "1", None, None, None, "1400")}
    return Job(
        "org", "key", "bizrouter", "chat", GPT4O, [GPT4O], terms, "v1", False, False, "optimistic", b"{}", 1,
        routing=routing,
    )  # fmt: skip


def failure(kind: FailureKind, retry_after_s: float | None = None, status: int = 0) -> ProviderFailure:
    return ProviderFailure(kind=kind, status=status, retry_after_s=retry_after_s)


def plan_of(*groups: list[Candidate], attempts: int = 8) -> Plan:
    return Plan(list(groups), Limits(attempts=attempts), deadline=100)


def names(step: Step | None) -> list[str]:
    """The deployments that a step may ask."""
    if step is None:
        return []
    if isinstance(step, Again):
        return [step.candidate.deployment.id]
    return [c.deployment.id for group in step.groups for c in group]


def test_weights_are_kept_exactly_and_without_runs() -> None:
    balance = Balance()
    three = [candidate("a", 70), candidate("b", 20), candidate("c", 10)]
    order = [balance.choose(three).deployment.id for _ in range(1000)]
    assert Counter(order) == {"a": 700, "b": 200, "c": 100}
    assert Counter(order[:10]) == {"a": 7, "b": 2, "c": 1}


@pytest.mark.parametrize("kind", ["server", "overloaded"])
def test_a_blip_is_tried_once_more_and_then_the_next_is_asked(kind: FailureKind) -> None:
    a, b = candidate("a"), candidate("b")
    plan = plan_of([a, b])
    plan.begins(a)
    again = plan.after(a, failure(kind), now=0)
    assert isinstance(again, Again) and again.candidate is a and 0 < again.wait_s < 1
    plan.begins(a)
    assert names(plan.after(a, failure(kind), now=1)) == ["b"]


def test_a_rate_limit_without_a_time_is_asked_three_times_in_three_seconds() -> None:
    a, b = candidate("a"), candidate("b")
    plan, now = plan_of([a], [b]), 0.0
    for _ in range(2):
        plan.begins(a)
        step = plan.after(a, failure("rate_limited"), now)
        assert isinstance(step, Again) and step.candidate is a and step.wait_s > 0
        now += step.wait_s
    plan.begins(a)
    assert now < 3
    assert names(plan.after(a, failure("rate_limited"), now)) == ["b"]


def test_a_short_retry_after_is_waited_for_and_a_long_one_is_not() -> None:
    a, b = candidate("a"), candidate("b")
    plan = plan_of([a, b])
    plan.begins(a)
    step = plan.after(a, failure("rate_limited", retry_after_s=1.5), now=0)
    assert isinstance(step, Again) and (step.candidate, step.wait_s) == (a, 1.5)
    plan = plan_of([a, b])
    plan.begins(a)
    assert names(plan.after(a, failure("rate_limited", retry_after_s=30), now=0)) == ["b"]


@pytest.mark.parametrize("kind", ["connect", "cut", "unreadable", "timeout", "credentials", "not_found", "stalled"])
def test_another_deployment_comes_before_the_same_again(kind: FailureKind) -> None:
    a, b = candidate("a"), candidate("b")
    plan = plan_of([a, b])
    plan.begins(a)
    assert names(plan.after(a, failure(kind), now=0)) == ["b"]


@pytest.mark.parametrize(
    ("kind", "again"), [("connect", True), ("cut", True), ("unreadable", True), ("timeout", False), ("stalled", False)]
)
def test_the_only_deployment_is_asked_once_more_but_never_after_silence(kind: FailureKind, again: bool) -> None:
    a = candidate("a")
    plan = plan_of([a])
    plan.begins(a)
    assert bool(plan.after(a, failure(kind), now=0)) is again
    plan.begins(a)
    assert plan.after(a, failure(kind), now=1) is None


@pytest.mark.parametrize("kind", ["bad_request", "content_policy"])
def test_what_would_fail_anywhere_is_sent_nowhere_else(kind: FailureKind) -> None:
    a, b = candidate("a"), candidate("b")
    plan = plan_of([a, b])
    plan.begins(a)
    assert plan.after(a, failure(kind, status=400), now=0) is None


def test_a_context_overflow_goes_only_to_a_larger_context() -> None:
    a = candidate("a", context_length=1000)
    same, larger = candidate("same", context_length=1000), candidate("larger", context_length=1001)
    plan = plan_of([a, same], [larger])
    plan.begins(a)
    assert names(plan.after(a, failure("context_length", status=400), now=0)) == ["larger"]
    plan = plan_of([a, same])
    plan.begins(a)
    assert plan.after(a, failure("context_length", status=400), now=0) is None


def test_what_a_stand_in_cannot_do_is_not_what_the_caller_is_told() -> None:
    a, b = candidate("a"), candidate("b", model="openai/gpt-4o-mini")
    plan = plan_of([a], [b])
    for asked, what in ((a, failure("rate_limited", 60, 429)), (b, failure("bad_request", status=400))):
        plan.begins(asked)
        plan.after(asked, what, now=0)
    assert plan.telling().status == 429


def test_attempts_and_time_are_bounded() -> None:
    many = [candidate(str(i)) for i in range(20)]
    plan, asked = plan_of(many, attempts=5), 0
    step: Step | None = Others(plan.untried())
    while step is not None:
        one = step.candidate if isinstance(step, Again) else step.groups[0][0]
        plan.begins(one)
        asked += 1
        step = plan.after(one, failure("connect"), now=0)
    assert asked == 5
    late = plan_of(many)
    late.begins(many[0])
    assert late.after(many[0], failure("connect"), now=100) is None


def test_a_broken_answer_is_gone_on_with_by_others_first_and_then_once_by_the_same() -> None:
    a, b = candidate("a"), candidate("b")
    plan = plan_of([a, b])
    plan.begins(a)
    assert names(plan.broke(a, failure("cut"), now=0)) == ["b"]
    plan.begins(b)
    assert names(plan.broke(b, failure("cut"), now=0)) == ["a"]
    plan.begins(a)
    assert names(plan.broke(a, failure("cut"), now=0)) == ["b"]
    plan.begins(b)
    assert plan.broke(b, failure("cut"), now=0) is None


def test_a_failure_of_our_account_is_never_the_telling_one() -> None:
    plan = plan_of([candidate("a")])
    plan.failures += [(GPT4O, failure("rate_limited", status=429)), (GPT4O, failure("credentials", status=401))]
    assert plan.telling().status == 429


def test_preferences_of_the_client_decide_who_may_serve_and_who_comes_first() -> None:
    host = candidate("eu-1").deployment
    assert preferences(b"") == Preferences()
    assert preferences(b'{"only":["openai"]}').permits(host)
    assert not preferences(b'{"only":["google"]}').permits(host)
    assert not preferences(b'{"ignore":["EU-1"]}').permits(host)
    ordered = preferences(b'{"order":["google","eu-1"]}')
    assert (ordered.permits(host), ordered.rank(host)) == (True, 1)
    assert preferences(b'{"order":["google"]}').rank(host) == 1
    assert not preferences(b'{"order":["google"],"allow_fallbacks":false}').permits(host)


def test_a_test_call_names_its_deployments_and_reaches_drained_ones() -> None:
    wishes = preferences(b'["Seoul-1"]')
    assert wishes.permits(candidate("seoul-1", 0).deployment) and not wishes.permits(candidate("seoul-2").deployment)
    model, drained = builtin().models[GPT4O], candidate("seoul-1", 0).deployment
    job = job_for(routing=b'["seoul-1"]')
    assert [c.deployment for group in candidates(job, {GPT4O: model}, {GPT4O: [drained]}) for c in group] == [drained]
    for said in (b"", b'{"only": ["seoul-1"], "drained": true}'):
        assert candidates(job_for(routing=said), {GPT4O: model}, {GPT4O: [drained]}) == []
