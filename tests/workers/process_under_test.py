"""A worker process as tests start it: the real one, with its deployments in an environment variable."""

from __future__ import annotations

import os

os.environ["CELERY_CUSTOM_WORKER_POOL"] = "workers.pool:AsyncPool"

import logging
import sys
import time

import msgspec

from gateway import open_files
from gateway.deployments.deployment import Deployment
from gateway.settings import settings
from workers.pool import AsyncPool
from workers.process import run_worker

_on_stop = AsyncPool.on_stop


def _slowly(pool: AsyncPool) -> None:
    """Celery's consumer has ended, and for a moment that tests can see the drain has not begun."""
    time.sleep(float(os.environ.get("TEST_STOP_S", "0")))
    _on_stop(pool)


if __name__ == "__main__":
    AsyncPool.on_stop = _slowly
    logging.basicConfig(level=logging.INFO)
    open_files.raise_limit()
    deployments = msgspec.json.decode(os.environ["TEST_DEPLOYMENTS"], type=list[Deployment])
    sys.exit(run_worker(settings(), lambda: deployments))
