"""`wonrouter worker`: runs the call worker in this process."""

from __future__ import annotations

import os

import click


@click.command()
def worker() -> None:
    """Runs a call worker: takes jobs from the queue, calls providers, streams their answers back.

    Configured by the environment (DATABASE_URL, REDIS_URL, WONROUTER_…). SIGTERM lets open calls finish first.
    """
    # Celery reads its hook for pools at import, so nothing of it is imported before
    os.environ["CELERY_CUSTOM_WORKER_POOL"] = "workers.pool:AsyncPool"
    from gateway import logs, open_files, tracing
    from gateway.deployments.store import loader
    from gateway.settings import settings
    from workers.process import run_worker

    open_files.raise_limit()  # a connection per call
    current = settings()
    logs.configure(current.log_level, "worker")
    tracing.configure("worker")
    try:
        code = run_worker(current, loader(current))
    finally:
        tracing.flush()
    raise SystemExit(code)


commands = [worker]
