"""What follows a failed attempt: the same deployment once more, the next one, another model, or the end.

Pure: no I/O, no clock but the caller's. The rules are docs/routing.md's table, a line each.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec

from gateway.settings import Settings
from workers.providers.base import FailureKind, ProviderFailure
from workers.routing.candidates import Candidate

SAME_AGAIN: frozenset[FailureKind] = frozenset({"server", "overloaded"})
"""A blip: once more on the same deployment, then the next."""
LAST_AGAIN: frozenset[FailureKind] = frozenset({"connect", "cut", "unreadable"})
"""The next deployment; where there is none, once more on the same."""
IN_AN_ANSWER: frozenset[FailureKind] = frozenset({*LAST_AGAIN, *SAME_AGAIN, "stalled"})
"""What may break an answer under way and leave the deployment able to go on with it."""


class Limits(msgspec.Struct, frozen=True):
    """What one request may take: attempts, and seconds for its waits."""

    attempts: int = 8
    backoff_s: float = 0.25
    retry_after_most_s: float = 2.0
    rate_limit_attempts: int = 3
    rate_limit_s: float = 3.0

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """As the settings say."""
        return cls(
            settings.most_attempts,
            settings.backoff_s,
            settings.retry_after_most_s,
            settings.rate_limit_attempts,
            settings.rate_limit_s,
        )


class Again(msgspec.Struct, frozen=True):
    """The same deployment once more, after `wait_s` seconds."""

    candidate: Candidate
    wait_s: float


class Others(msgspec.Struct, frozen=True):
    """One of these, groups in order of preference; not empty."""

    groups: list[list[Candidate]]


Step = Again | Others


class Plan:
    """The attempts of one job.

    Args:
        groups: permitted deployments, models and hosts in order of preference; not empty.
        deadline: when the job's time is up (seconds, same clock as `now`).
    """

    def __init__(self, groups: list[list[Candidate]], limits: Limits, deadline: float) -> None:
        self._groups = groups
        self._limits = limits
        self._tried: dict[str, int] = {}
        self._limited_since: dict[str, float] = {}
        self._least_context = 0
        self.first_candidate = groups[0][0]
        self.asked_model = groups[0][0].model.id
        self.deadline = deadline
        self.attempts = 0
        self.failures: list[tuple[str, ProviderFailure]] = []

    def begins(self, candidate: Candidate) -> None:
        """An attempt on it begins."""
        self.attempts += 1
        name = candidate.deployment.id
        self._tried[name] = self._tried.get(name, 0) + 1

    def spent(self, now: float) -> bool:
        """No further attempt is allowed."""
        return self.attempts >= self._limits.attempts or now >= self.deadline

    def untried(self) -> list[list[Candidate]]:
        """Whom nobody has asked yet for this job, and who may be asked."""
        return self._remaining(lambda c: c.deployment.id not in self._tried)

    def _remaining(self, wanted: Callable[[Candidate], bool]) -> list[list[Candidate]]:
        found: list[list[Candidate]] = []
        for group in self._groups:
            kept = [c for c in group if c.model.context_length > self._least_context and wanted(c)]
            if kept:
                found.append(kept)
        return found

    def other(self, now: float) -> Others | None:
        """Somebody who has not been asked: for a hedge, or beside a deployment that answers badly."""
        groups = [] if self.spent(now) else self.untried()
        return Others(groups) if groups else None

    def after(self, candidate: Candidate, failure: ProviderFailure, now: float) -> Step | None:
        """What follows a failure before anything of this attempt was delivered; None gives up."""
        self.failures.append((candidate.model.id, failure))
        if not self._may_go_on(candidate, failure) or self.spent(now):
            return None
        wait = self._same_again(candidate, failure, now)
        if wait is not None and now + wait < self.deadline:
            return Again(candidate, wait)
        if groups := self.untried():
            return Others(groups)
        wait = self._last_again(candidate, failure)
        return Again(candidate, wait) if wait is not None and now + wait < self.deadline else None

    def _may_go_on(self, candidate: Candidate, failure: ProviderFailure) -> bool:
        if failure.kind == "context_length":
            self._least_context = max(self._least_context, candidate.model.context_length)
            return True
        # what a stand-in cannot do says nothing about the others; a refusal by policy binds them all
        stand_in = candidate.model.id != self.asked_model and failure.kind == "bad_request"
        return failure.retryable or stand_in

    def _same_again(self, candidate: Candidate, failure: ProviderFailure, now: float) -> float | None:
        """Seconds until the same deployment is asked again before any other; None: it is not."""
        name, most = candidate.deployment.id, self._limits
        tries = self._tried.get(name, 0)
        if failure.kind == "rate_limited":
            since = self._limited_since.setdefault(name, now)
            if failure.retry_after_s is not None:
                short = failure.retry_after_s <= most.retry_after_most_s
                return max(0.05, failure.retry_after_s) if short and tries < 2 else None
            wait = self._backoff(tries)
            return wait if tries < most.rate_limit_attempts and now + wait - since <= most.rate_limit_s else None
        return self._backoff(tries) if failure.kind in SAME_AGAIN and tries < 2 else None

    def _last_again(self, candidate: Candidate, failure: ProviderFailure) -> float | None:
        tries = self._tried.get(candidate.deployment.id, 0)
        return self._backoff(tries) if failure.kind in LAST_AGAIN and tries < 2 else None

    def _backoff(self, tries: int) -> float:
        return self._limits.backoff_s * 2 ** max(0, tries - 1) * (0.5 + random.random())  # noqa: S311 jitter, no secret

    def broke(self, candidate: Candidate, failure: ProviderFailure, now: float) -> Step | None:
        """Who goes on with an answer that broke off after some of it was delivered; None: nobody."""
        self.failures.append((candidate.model.id, failure))
        if not failure.retryable or self.spent(now):
            return None
        if groups := self.untried():
            return Others(groups)
        twice = self._remaining(lambda c: self._tried[c.deployment.id] < 2 and c is not candidate)
        if twice:
            return Others(twice)
        if failure.kind in IN_AN_ANSWER and self._tried[candidate.deployment.id] < 2:
            return Again(candidate, self._backoff(1))
        return None

    def telling(self) -> ProviderFailure:
        """The failure that tells the caller most: the last that is a provider's own answer about the asked model."""
        told = [(model, f) for model, f in self.failures if f.status >= 400 and f.kind != "credentials"]
        own = [f for model, f in told if model == self.asked_model]
        final = [f for f in own if not f.retryable]
        return _last(final) or _last(own) or _last([f for _, f in told]) or self.failures[-1][1]


def _last(failures: Sequence[ProviderFailure]) -> ProviderFailure | None:
    return failures[-1] if failures else None
