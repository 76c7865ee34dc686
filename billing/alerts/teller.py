"""The thread that looks at limits and delivers alerts. Settlement never waits for it, nor for a customer's receiver."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import structlog
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from billing import metrics
from billing.alerts import delivery, watch
from gateway import mail
from gateway.settings import Settings

log = structlog.get_logger(__name__)

LOOK_S = 2.0
"""Between two looks at all limits: people act in minutes, and a look reads every key that has a limit."""
REST_S = 1.0
AWAY_S = 2.0


class Teller(threading.Thread):
    """Runs until ``stop``. Any number of processes may run one: PostgreSQL decides who raises and who delivers what."""

    def __init__(self, redis: Any, engine: Engine, settings: Settings) -> None:
        super().__init__(name="alerts", daemon=True)
        self._redis = redis
        self._engine = engine
        self._settings = settings
        self._stopping = threading.Event()
        self._look_at = 0.0

    def stop(self) -> None:
        """Ends the thread after what it is doing."""
        self._stopping.set()

    def run(self) -> None:
        """The thread's body."""
        while not self._stopping.is_set():
            try:
                rest = 0.0 if self._turn() else REST_S
            except (RedisError, DBAPIError, psycopg.Error, OSError) as error:
                log.warning("alerts_wait", error=type(error).__name__)
                rest = AWAY_S
            except Exception:  # a fault of ours in one turn must not silence alerts for good
                log.exception("alerts_turn_failed")
                rest = AWAY_S
            self._stopping.wait(rest)

    def _turn(self) -> bool:
        """Looks where it is time to, delivers what is due. True where there may be more."""
        with self._engine.connect() as connection:
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + LOOK_S
                refused = watch.take_refused(self._redis)
                raised = watch.look(connection, refused, mail=mail.configured(self._settings))
                metrics.ALERTS.inc(raised)
            return delivery.deliver(connection, self._settings) >= delivery.AT_ONCE
