"""Ways to reach models: what operators write down, how it is kept, and who hears of a change."""

from __future__ import annotations

from collections.abc import Mapping


def from_environment(database_url: str, redis_url: str, secret: str, environ: Mapping[str, str]) -> int:
    """Makes deployments of the provider keys found in their usual environment variables; returns how many.

    Models that a deployments file names keep the file's. The database comes in with the call, so that an adapter that
    only needs the shape of a deployment loads no driver.
    """
    from gateway.deployments import change

    return len(change.from_environment(database_url, redis_url, secret, environ).deployments)
