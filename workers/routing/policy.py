"""What to do after a failed attempt: another deployment, the same one once more, or give up.

Nothing may have been delivered yet when this is asked.
"""

from __future__ import annotations

import random

import msgspec

from workers.providers.base import FailureKind, ProviderFailure
from workers.routing.candidates import Candidate
from workers.routing.choose import Balance

MOST_ATTEMPTS = 6
"""Per job: a provider in trouble must not see one request multiplied without end."""
BACKOFF_S = 0.25
"""Before the same deployment is asked again, with jitter: long enough for a blip to pass, short enough to go unseen."""
LONGEST_WAIT_S = 2.0
"""A longer Retry-After is for the client to wait out, not for us with its connection open."""
ONCE_MORE: frozenset[FailureKind] = frozenset({"connect", "server", "overloaded", "rate_limited", "cut", "unreadable"})
"""A silent deployment is not among them: its silence would be waited for twice."""


class Next(msgspec.Struct, frozen=True):
    """The next attempt: whom to ask, and how many seconds to wait before."""

    candidate: Candidate
    wait_s: float = 0.0


class Plan:
    """The attempts of one job.

    Args:
        groups: permitted deployments per model, preferred model first; not empty.
        balance: whose turn it is.
        deadline: when the job's time is up (seconds, same clock as `now`).
    """

    def __init__(self, groups: list[list[Candidate]], balance: Balance, deadline: float) -> None:
        self._groups = groups
        self._balance = balance
        self._deadline = deadline
        self._tried: dict[str, int] = {}
        self._attempts = 0
        self.failures: list[ProviderFailure] = []

    def first(self) -> Next:
        """The first attempt."""
        return self._ask(self._balance.choose(self._groups[0]), 0.0)

    def after(self, candidate: Candidate, failure: ProviderFailure, now: float) -> Next | None:
        """What follows a failure before anything was delivered; None gives up."""
        self.failures.append(failure)
        if not failure.retryable or self._attempts >= MOST_ATTEMPTS or now >= self._deadline:
            return None
        untried = [c for c in self._groups[0] if c.deployment.id not in self._tried]
        if untried:
            return self._ask(self._balance.choose(untried), 0.0)
        wait = self._wait(failure)
        again = failure.kind in ONCE_MORE and self._tried[candidate.deployment.id] < 2
        if again and wait <= LONGEST_WAIT_S and now + wait < self._deadline:
            return self._ask(candidate, wait)
        return None

    def _wait(self, failure: ProviderFailure) -> float:
        if failure.retry_after_s is not None:
            return failure.retry_after_s
        return BACKOFF_S * (0.5 + random.random())  # noqa: S311 jitter, not a secret

    def _ask(self, candidate: Candidate, wait_s: float) -> Next:
        self._attempts += 1
        self._tried[candidate.deployment.id] = self._tried.get(candidate.deployment.id, 0) + 1
        return Next(candidate, wait_s)

    def telling(self) -> ProviderFailure:
        """The failure that tells the caller most: the last that is a provider's own answer about the request."""
        told = [f for f in self.failures if f.status >= 400 and f.kind != "credentials"]
        return told[-1] if told else self.failures[-1]
