"""A deployment: one way to reach a model — provider account, address, upstream id, weight."""

from __future__ import annotations

import msgspec

TIME_LIMITS = ("first_token_timeout_s", "idle_timeout_s", "total_timeout_s")
"""Options of a deployment that is slower or faster than its model's limits suppose: seconds."""
LONGEST_LIMIT_S = 7_200.0
"""Longer than any provider lets an answer take."""


class Deployment(msgspec.Struct, frozen=True):
    """One way to reach a model. ``api_key`` is plain only in a worker's memory; at rest it is sealed.

    ``weight`` is the share of calls relative to the model's other deployments; 0 drains it. ``options`` holds what a
    provider needs beyond this (headers, organisation, path), as the provider's page in docs says, and time limits of
    its own (`TIME_LIMITS`).
    """

    id: str
    model: str
    provider: str
    base_url: str
    upstream_model: str
    api_key: str = ""
    weight: int = 1
    region: str | None = None
    domestic: bool = False
    no_training: bool = False
    options: dict[str, str] = msgspec.field(default_factory=dict[str, str])

    def time_limit(self, name: str) -> float | None:
        """One of `TIME_LIMITS` in seconds; None where the deployment has none of its own."""
        said = self.options.get(name)
        return float(said) if said else None
