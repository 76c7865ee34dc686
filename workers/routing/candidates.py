"""The deployments that may serve a job, in the order of its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.catalogue.model import Model
from gateway.deployments.deployment import Deployment
from gateway.deployments.providers import dialect_of
from gateway.wire.job import Job
from workers.providers.base import Adapter
from workers.providers.dialects import adapter
from workers.routing.preferences import preferences


class Candidate(msgspec.Struct, frozen=True):
    """One deployment of one of the job's models, with the adapter that speaks to it."""

    model: Model
    deployment: Deployment
    adapter: Adapter


def candidates(
    job: Job, models: Mapping[str, Model], deployments: Mapping[str, Sequence[Deployment]]
) -> list[list[Candidate]]:
    """For each of the job's models, in its order, the deployments that the organisation and the client permit.

    Where the client gave an order of hosts, a model's deployments come in several groups, preferred ones first.
    A drained deployment (weight 0) is left out, and so is one whose dialect this worker does not speak. A model
    that the job has no terms for is never served: there would be no price.
    """
    found: list[list[Candidate]] = []
    wishes = preferences(job.routing)
    for model_id in job.models:
        model = models.get(model_id)
        if model is None or model_id not in job.terms:
            continue
        permitted = [
            Candidate(model, deployment, speaker)
            for deployment in deployments.get(model_id, ())
            if (deployment.weight > 0 or wishes.drained)
            and wishes.permits(deployment)
            and (deployment.domestic or not job.domestic_only)
            and (deployment.no_training or not job.no_training)
            and (speaker := adapter(dialect_of(deployment, model))) is not None
        ]
        ranked: dict[int, list[Candidate]] = {}
        for candidate in permitted:
            ranked.setdefault(wishes.rank(candidate.deployment), []).append(candidate)
        found += [ranked[rank] for rank in sorted(ranked)]
    return found
