"""Celery's consumer with short waits between attempts to reach Redis again."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# Celery comes without types.

from __future__ import annotations

from typing import Any

import structlog
from celery.worker import state
from celery.worker.consumer import Consumer

log = structlog.get_logger("workers.consumer")

RETRY_FIRST_S, RETRY_MORE_S, RETRY_MOST_S = 0.2, 0.2, 1.0
"""Celery's own wait grows to half a minute; after an outage of Redis calls must flow within five seconds."""


class PatientConsumer(Consumer):
    """Tries for ever to reach Redis, at boot and later, at most a second apart."""

    def ensure_connected(self, conn: Any) -> Any:
        """Returns `conn` once it is open."""

        def tell(error: BaseException, wait_s: float) -> None:
            log.warning("redis_out_of_reach", error=str(error), retry_s=wait_s)

        conn = conn.ensure_connection(
            tell,
            None,
            interval_start=RETRY_FIRST_S,
            interval_step=RETRY_MORE_S,
            interval_max=RETRY_MOST_S,
            callback=state.maybe_shutdown,
        )
        self.first_connection_attempt = False
        return conn
