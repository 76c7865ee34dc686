"""A worker process as tests start it: the real one, with its deployments in an environment variable."""

from __future__ import annotations

import os

os.environ["CELERY_CUSTOM_WORKER_POOL"] = "workers.pool:AsyncPool"

import logging
import sys

import msgspec

from gateway import open_files
from gateway.deployments.deployment import Deployment
from gateway.settings import settings
from workers.process import run_worker

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    open_files.raise_limit()
    deployments = msgspec.json.decode(os.environ["TEST_DEPLOYMENTS"], type=list[Deployment])
    sys.exit(run_worker(settings(), lambda: deployments))
