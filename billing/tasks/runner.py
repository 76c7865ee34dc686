"""The threads that do tasks, beside settlement and never in its way: two lanes, and an ear for the news of a new task."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Sequence
from typing import Any

import msgspec
import psycopg
import structlog
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from billing import metrics
from billing.tasks import claims
from billing.tasks.claims import Claim, LostClaimError, Outcome
from billing.tasks.job import Job, Progress, refusal, who
from billing.tasks.kinds import IN_ONE, LONG, REPEATABLE, SHORT
from gateway import task_kinds
from gateway.wire import keys
from gateway.wire.news import decode_news

log = structlog.get_logger(__name__)

LEASE_S = 12.0
"""After this long without a sign of life another process takes the task up."""
POLL_S = 2.0
"""News of a task can be lost; nobody waits longer than this for it to be found."""
AWAY = (RedisError, OperationalError, InterfaceError, psycopg.OperationalError, OSError)
"""A store is away: nobody's mistake, so the task is tried again."""


class Lane(threading.Thread):
    """Does tasks of some kinds, one after the other, until ``stop``."""

    def __init__(self, engine: Engine, redis: Any, kinds: Sequence[str], lease_s: float = LEASE_S) -> None:
        super().__init__(name=f"tasks {kinds[0]}…", daemon=True)
        self._engine, self._redis, self._kinds, self._lease_s = engine, redis, kinds, lease_s
        self._stopping = threading.Event()
        self._woken = threading.Event()

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    def stop(self) -> None:
        """Ends the lane after the task under way."""
        self._stopping.set()
        self._woken.set()

    def run(self) -> None:
        """The thread's body."""
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                more = self.once()
            except (*AWAY, DBAPIError) as error:
                log.warning("tasks_wait", error=type(error).__name__)
                more = False
            except Exception:  # a fault of ours in one turn must not end the lane for good
                log.exception("task_turn_failed")
                more = False
            if not more:
                self._woken.wait(POLL_S)

    def once(self) -> bool:
        """Does one task. False where there is none."""
        with self._engine.begin() as connection:
            mine = claims.claim(connection, self._kinds, self._lease_s)
        if mine is None:
            return False
        progress = Progress()
        with self._kept(mine, progress):
            self._do(mine, progress)
        return True

    def _do(self, mine: Claim, progress: Progress) -> None:
        try:
            with metrics.TASK_SECONDS.labels(mine.kind).time():
                outcome = self._work(mine, progress)
        except LostClaimError:
            metrics.TASKS.labels(mine.kind, "lost").inc()
            log.warning("task_lost", task=str(mine.id), kind=mine.kind, attempt=mine.attempt)
        except AWAY as error:
            metrics.TASKS.labels(mine.kind, "put_back").inc()
            log.warning("task_put_back", task=str(mine.id), kind=mine.kind, error=type(error).__name__)
            self._stopping.wait(0.5)  # the store may need a moment
            with self._engine.begin() as connection:
                claims.release(connection, mine)
        except Exception as error:
            told = refusal(error)
            metrics.TASKS.labels(mine.kind, "refused" if told else "failed").inc()
            if told is None:
                log.exception("task_failed", task=str(mine.id), kind=mine.kind)
            with self._engine.begin() as connection, contextlib.suppress(LostClaimError):
                claims.fail(connection, mine, *(told or ("internal_error", "Something went wrong on our side.")))
        else:
            metrics.TASKS.labels(mine.kind, "done").inc()
            log.info("task_done", task=str(mine.id), kind=mine.kind)
            if outcome.after is not None:
                outcome.after()

    def _work(self, mine: Claim, progress: Progress) -> Outcome:
        parameters = task_kinds.read(mine.kind, mine.parameters)
        with self._engine.connect() as connection:
            person, upload = who(connection, mine), claims.upload(connection, mine)
        job = Job(mine, parameters, person, upload, self._engine, self._redis, progress)
        kind: Any = mine.kind
        if kind in IN_ONE:
            with self._engine.begin() as connection:
                outcome = IN_ONE[kind](connection, job)
                claims.finish(connection, mine, outcome)
            return outcome
        outcome = REPEATABLE[kind](job)
        try:
            with self._engine.begin() as connection:
                claims.renew(connection, mine, self._lease_s, progress.done, progress.total)
                claims.finish(connection, mine, outcome)
        finally:
            if outcome.file is not None:
                outcome.file.content.close()
        return outcome

    @contextlib.contextmanager
    def _kept(self, mine: Claim, progress: Progress) -> Generator[None]:
        """Renews the lease while the block runs."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(self._lease_s / 4):
                try:
                    with self._engine.begin() as connection:
                        if not claims.renew(connection, mine, self._lease_s, progress.done, progress.total):
                            progress.lost.set()
                            return
                except DBAPIError as error:
                    log.warning("task_lease_not_renewed", task=str(mine.id), error=type(error).__name__)

        thread = threading.Thread(target=beat, name="task lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class Runner:
    """Both lanes, and the ear."""

    def __init__(self, engine: Engine, redis: Any, listening: Any) -> None:
        """``listening`` is a Redis client of its own: it waits for news without a limit."""
        self._lanes = [Lane(engine, redis, kinds) for kinds in (SHORT, LONG)]
        self._listening = listening
        self._stopping = threading.Event()
        self._ear = threading.Thread(target=self._listen, name="task news", daemon=True)

    def start(self) -> None:
        """Begins."""
        for thread in (*self._lanes, self._ear):
            thread.start()

    def stop(self, patience_s: float) -> None:
        """Ends after the tasks under way; one that takes longer is taken up again by another process."""
        self._stopping.set()
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            lane.join(patience_s)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._listening.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(keys.NEWS)
                    self._wake()  # what came before we listened
                    while not self._stopping.is_set():
                        self._hear(channel.get_message(timeout=POLL_S))
            except (RedisError, OSError) as error:
                log.warning("task_news_away", error=type(error).__name__)
                self._stopping.wait(0.5)

    def _hear(self, message: Any) -> None:
        if message is None:
            return
        try:
            news = decode_news(message["data"])
        except msgspec.DecodeError:
            return  # of a newer version: none of ours
        if news.kind == "task":
            self._wake()

    def _wake(self) -> None:
        for lane in self._lanes:
            lane.wake()
