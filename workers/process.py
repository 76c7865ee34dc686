"""One worker process: Celery's consumer, the pool's event loop and the health server, from start to drained end."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# Celery comes without types.

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from celery.bootsteps import RUN
from celery.signals import worker_shutting_down

from gateway import garbage, probes
from gateway.catalogue.packaged import builtin
from gateway.deployments.deployment import Deployment
from gateway.settings import Settings
from workers.app import READ_AHEAD, call_app, celery_log_level, serve_calls
from workers.calls import CallWorker
from workers.pool import AsyncPool

log = structlog.get_logger("workers.process")


def run_worker(settings: Settings, load: Callable[[], Sequence[Deployment]]) -> int:
    """Runs until SIGTERM (drained within `settings.drain_s`) or SIGQUIT (at once); returns the exit code."""
    app: Any = call_app(settings.redis_url)
    calls = CallWorker(settings, load, builtin().models)
    serve_calls(app, calls)

    def leave(**_: Any) -> None:
        calls.leave()

    worker_shutting_down.connect(leave, weak=False)  # the drain begins only once Celery's consumer has ended
    consuming = threading.Event()

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None]:
        calls.places = AsyncPool.serving()
        await calls.start()
        garbage.settle()
        try:
            yield
        finally:
            await calls.drain(settings.drain_s)
            await calls.close()

    AsyncPool.open_calls = settings.worker_calls
    AsyncPool.drain_s = 0.0  # the lifespan drains: it knows what a call is
    AsyncPool.lifespan = staticmethod(lifespan)
    celery_worker: Any = app.Worker(
        hostname=f"calls@{calls.id}",
        pool_cls="custom",
        concurrency=READ_AHEAD,
        loglevel=celery_log_level(settings),
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        task_events=False,
        ready_callback=_setter(consuming),
    )

    def missing() -> list[str]:
        consumer: Any = celery_worker.consumer
        running: bool = consumer is not None and consumer.blueprint.state == RUN
        broker = bool(running and consuming.is_set() and consumer is not None and consumer.connection)
        return [
            name
            for name, there in (
                ("queue", broker),
                ("control channel", calls.control.ready),
                ("deployments", calls.room.deployments.loaded.is_set()),
            )
            if not there
        ]

    health = probes.serve(settings, missing, calls.measure)
    try:
        celery_worker.start()
    finally:
        if health is not None:
            health.stop()
    return int(celery_worker.exitcode or 0)


def _setter(event: threading.Event) -> Callable[[object], None]:
    def ready(_consumer: object) -> None:
        event.set()

    return ready
