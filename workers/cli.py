"""`wonrouter worker`: runs the call worker in this process."""

from __future__ import annotations

import os
import resource

import click


@click.command()
def worker() -> None:
    """Runs a call worker: takes jobs from the queue, calls providers, streams their answers back.

    Configured by the environment (DATABASE_URL, REDIS_URL, WONROUTER_…). SIGTERM lets open calls finish first.
    """
    # Celery reads its hook for pools at import, so nothing of it is imported before
    os.environ["CELERY_CUSTOM_WORKER_POOL"] = "workers.pool:AsyncPool"
    from gateway import logs, tracing
    from gateway.deployments.store import loader
    from gateway.settings import settings
    from workers.process import run_worker

    raise_file_limit()
    current = settings()
    logs.configure(current.log_level, "worker")
    tracing.configure("worker")
    try:
        code = run_worker(current, loader(current))
    finally:
        tracing.flush()
    raise SystemExit(code)


def raise_file_limit() -> None:
    """A connection per call: as many files as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


commands = [worker]
