"""Smooth weighted choice: exact proportions over time, without runs of one deployment."""

from __future__ import annotations

from collections.abc import Sequence

from workers.routing.candidates import Candidate


class Balance:
    """One process's memory of whose turn it is, per model.

    Every choice adds each candidate's weight to its score, takes the highest and subtracts the sum of all weights
    from it: over any stretch that is a multiple of the sum, each gets exactly its share.
    """

    def __init__(self) -> None:
        self._scores: dict[str, int] = {}

    def choose(self, candidates: Sequence[Candidate]) -> Candidate:
        """The candidate whose turn it is. `candidates` is not empty; weights are above zero."""
        if len(candidates) == 1:
            return candidates[0]
        scores = self._scores
        total = 0
        for candidate in candidates:
            weight = candidate.deployment.weight
            scores[candidate.deployment.id] = scores.get(candidate.deployment.id, 0) + weight
            total += weight
        chosen = max(candidates, key=lambda c: scores[c.deployment.id])
        scores[chosen.deployment.id] -= total
        return chosen

    def keep(self, known: frozenset[str]) -> None:
        """Forgets deployments that are no longer known."""
        self._scores = {name: score for name, score in self._scores.items() if name in known}
