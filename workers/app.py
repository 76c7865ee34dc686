"""The Celery app of the call queue, and its one task."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# Celery comes without types.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery
from kombu.entity import Queue

from gateway.settings import Settings
from gateway.wire import keys
from workers.pool import AsyncPool, adopt

if TYPE_CHECKING:
    from workers.calls import CallWorker

READ_AHEAD = 1
"""Messages held while all places are taken: one stands for many jobs, and another worker may have places for them."""


def call_app(redis_url: str) -> Any:
    """The app: early acknowledgement, no results, no events. A message is only a hint, so nothing is kept of it."""
    app: Any = Celery("workers", broker=redis_url, set_as_current=False)
    app.conf.update(
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "ack_emulation": False,  # no second copy of every message in Redis: the claim decides who runs a job
            "socket_keepalive": True,
            "socket_connect_timeout": 2.0,
            "health_check_interval": 5,
        },
        broker_pool_limit=2,
        task_queues=[Queue(keys.CALL_QUEUE, routing_key=keys.CALL_QUEUE)],
        task_default_queue=keys.CALL_QUEUE,
        task_acks_late=False,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_send_sent_event=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_prefetch_multiplier=1,
        worker_consumer="workers.consumer:PatientConsumer",
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        accept_content=["json"],
        result_backend=None,
    )
    return app


def serve_calls(app: Any, worker: CallWorker) -> None:
    """Registers the task that runs jobs on `worker`."""

    def run(job: str) -> None:
        # an empty name says that jobs wait, without saying which
        adopt(worker.run(job) if job else worker.take(AsyncPool.serving()))

    app.task(name=keys.COMPLETE_TASK, ignore_result=True, acks_late=False)(run)


def celery_log_level(settings: Settings) -> str:
    """Celery says per message what we say per job: only its warnings are worth keeping."""
    return "DEBUG" if settings.log_level.upper() == "DEBUG" else "WARNING"
