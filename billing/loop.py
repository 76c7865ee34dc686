"""The settlement loop: a thread that takes turns under the settler's lock, and waits out every outage."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any

import psycopg
import structlog
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from billing import metrics, upkeep
from billing.gauges import Gauges
from billing.invoices import lapse
from billing.lock import SettlerLock
from gateway.credit.upkeep import recount
from gateway.settings import Settings
from gateway.wire import keys

log = structlog.get_logger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 0.5
"""Between tries while PostgreSQL or Redis is away: quick enough to be back with them, slow enough to do no harm."""
CHORES_S = 1.0
"""How often expired holds are looked for and gauges are read."""
LAPSE_S = 60.0
"""How often lapsed lots are looked for: whether their last calls are booked means reading the whole stream."""
RECOUNT_S = 600.0
"""How often the bodies of open jobs are counted anew, which reads all open jobs."""
BEAT_S = 15
"""For how long it is remembered in Redis that somebody settles: ``wonrouter doctor`` looks there."""
STALE_S = 10.0
"""Without a finished turn for this long, /readyz says so."""


class Loop(threading.Thread):
    """Runs until ``stop``. Any number of processes may run one: the lock lets one at a time work."""

    def __init__(self, redis: Any, engine: Engine, settings: Settings) -> None:
        super().__init__(name="settlement", daemon=True)
        self._redis = redis
        self._settings = settings
        self._lock = SettlerLock(engine)
        self._gauges = Gauges()
        self._name = f"{socket.gethostname()} {os.getpid()}"
        self._stopping = threading.Event()
        self._chores_at = 0.0
        self._lapse_at = 0.0
        self._recount_at = 0.0
        self._last_turn = time.monotonic() - STALE_S  # not ready before its first turn
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why nothing is being settled; empty while turns succeed."""
        if time.monotonic() - self._last_turn < STALE_S:
            return ""
        return self._trouble or "no turn has finished yet"

    def measure(self) -> None:
        """Brings the gauge up to date that says whether the loop turns at all."""
        metrics.TURN_AGE.set(time.monotonic() - self._last_turn)

    def stop(self) -> None:
        """Ends the loop after the turn under way."""
        self._stopping.set()

    def run(self) -> None:
        """The thread's body."""
        wait = FIRST_WAIT_S
        while not self._stopping.is_set():
            try:
                more = self._turn()
            except (RedisError, DBAPIError, psycopg.Error, OSError) as error:
                self._report(error)
                log.warning("billing_waits", error=self._trouble)
            except Exception as error:  # a fault of ours in one turn must not end settlement for good
                self._report(error)
                log.exception("billing_turn_failed")
            else:
                wait, self._last_turn, self._trouble = FIRST_WAIT_S, time.monotonic(), ""
                if not more:
                    self._stopping.wait(self._settings.settle_idle_s)
                continue
            metrics.TROUBLE.inc()
            self._stopping.wait(wait)
            wait = min(wait * 2, LONGEST_WAIT_S)
        self._lock.close()

    def _turn(self) -> bool:
        with self._lock.turn() as connection:
            metrics.SETTLER.set(connection is not None)
            if connection is None:
                return False
            more = upkeep.turn(self._redis, connection, self._settings)
            if time.monotonic() >= self._chores_at:
                self._chores_at = time.monotonic() + CHORES_S
                upkeep.sweep(self._redis, self._settings.expiry_grace_s)
                self._gauges.read(self._redis, connection)
                self._redis.execute_command("SET", keys.SETTLER, self._name, "EX", BEAT_S)
                with connection.begin():
                    lapse.give_back_on_account(connection)
            if time.monotonic() >= self._recount_at:
                self._recount_at = time.monotonic() + RECOUNT_S
                recount(self._redis)
            if time.monotonic() >= self._lapse_at:
                self._lapse_at = time.monotonic() + LAPSE_S
                lapse.expire(self._redis, connection)
            return more

    def _report(self, error: BaseException) -> None:
        self._trouble = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
