"""The billing process: a Celery app for tasks and their schedule, and the settlement loop beside it.

One command runs everything. Several billing processes may run: the settler's lock lets one loop work at a time, and
every task may run twice or at the same time as itself.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import threading
from collections.abc import Generator
from typing import Any

import structlog
from celery import Celery, beat  # pyright: ignore[reportMissingTypeStubs]
from celery.schedules import crontab  # pyright: ignore[reportMissingTypeStubs]
from celery.signals import worker_shutting_down  # pyright: ignore[reportMissingTypeStubs]
from kombu.entity import Queue
from sqlalchemy import Engine, text

import gateway.redis
from billing import fx, metrics, retiring
from billing.alerts import delivery
from billing.alerts.teller import Teller
from billing.invoices.payments import mark_overdue
from billing.loop import Loop
from billing.reconcile import reconcile
from billing.tasks import claims
from billing.tasks.runner import Runner
from gateway import garbage, probes
from gateway.accounts import retention
from gateway.business_days import is_business_day
from gateway.db import connect
from gateway.finance.costs import below_cost
from gateway.settings import Settings
from gateway.wire import keys
from gateway.wire.ids import SEOUL
from gateway.wire.news import News, encode_news

log = structlog.get_logger(__name__)

MONTHS_AHEAD = 2
OUTBOX_DAYS = 7
"""Applied outbox rows are kept for a week as evidence of when a change reached the window."""
TASK_THREADS = 2
FIRST_RATE_HOUR = 11
"""Before 11:00 in Seoul the source has no rate for the day."""
TASKS_END_S = 5.0
"""A step of the close ends within this; a long export is begun anew by the next process."""
TELLER_END_S = 1.0
"""A delivery that is cut off is made again; nobody waits for a customer's receiver."""
LOOP_END_S = 20.0
"""A turn of the loop ends within this unless a store hangs; what it leaves behind the next process does again."""


def billing_app(redis_url: str) -> Any:
    """The Celery app of ``wr:billing``. It waits for a broker that is away for as long as that takes."""
    app: Any = Celery("billing", broker=redis_url, set_as_current=False)
    app.conf.update(
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={"socket_keepalive": True, "socket_connect_timeout": 2.0},
        task_queues=[Queue(keys.BILLING_QUEUE, routing_key=keys.BILLING_QUEUE)],
        task_default_queue=keys.BILLING_QUEUE,
        task_ignore_result=True,
        task_acks_late=True,  # every task may run twice; none may be lost with its process
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        accept_content=["json"],
        timezone="Asia/Seoul",
        beat_schedule={
            "invariants": {"task": "billing.invariants", "schedule": crontab(minute=7)},
            "housekeeping": {"task": "billing.housekeeping", "schedule": crontab(minute=37)},
            "retention": {"task": "billing.retention", "schedule": crontab(minute=52)},
            # rates appear at 11:00 on business days; an hour in which the source is away costs nothing
            "rates": {"task": "billing.rates", "schedule": crontab(minute=12)},
        },
    )
    return app


def add_tasks(app: Any, engine: Engine, redis: Any, settings: Settings) -> None:
    """Registers the tasks on their stores."""

    def invariants() -> None:
        found = reconcile(engine, redis)
        broken = {name: count for name, count in found.items() if count}
        if broken:
            log.error("invariants_broken", **broken)
        with engine.connect() as connection:
            cheap = below_cost(connection)
        metrics.BELOW_COST.set(len(cheap))
        if cheap:
            log.error("sold_below_cost", models=[f"{one.model} ({one.provider})" for one in cheap])

    def housekeeping() -> None:
        keep_house(engine)
        with engine.begin() as connection:
            overdue = mark_overdue(connection, dt.datetime.now(SEOUL).date())
        if overdue:
            log.warning("invoices_overdue", numbers=overdue)
        if settings.usage_retires_by_itself:
            retiring.retire_due(engine, redis)

    def kept_long_enough() -> None:
        if gone := {name: records for name, records in retention.delete_due(engine).items() if records}:
            log.info("retention_deleted", **gone)

    def rates() -> None:
        look_after_rates(engine, redis, settings)

    app.task(name="billing.rates")(rates)
    app.task(name="billing.invariants")(invariants)
    app.task(name="billing.housekeeping")(housekeeping)
    app.task(name="billing.retention")(kept_long_enough)


def keep_house(engine: Engine) -> None:
    """Makes the coming months' partitions, and forgets outbox rows and deliveries of long ago."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "SELECT ensure_usage_month(to_char(moment, 'YYYYMM')) FROM generate_series("
                "now() AT TIME ZONE 'Asia/Seoul', now() AT TIME ZONE 'Asia/Seoul' + :ahead * interval '1 month', "
                "interval '1 month') AS moment"
            ),
            {"ahead": MONTHS_AHEAD},
        )
        claims.tidy(connection)
        connection.execute(
            text("DELETE FROM outbox WHERE applied_at < now() - :days * interval '1 day'"), {"days": OUTBOX_DAYS}
        )
        delivery.forget_old(connection)


def look_after_rates(engine: Engine, redis: Any, settings: Settings, now: dt.datetime | None = None) -> None:
    """Fetches today's rate where a source is set and it is missing, and raises the alarm where rates grow old."""
    moment = (now or dt.datetime.now(SEOUL)).astimezone(SEOUL)
    today = moment.date()
    with engine.connect() as connection:
        age = fx.staleness(connection, today)
    if settings.fx_url and age.newest != today and moment.hour >= FIRST_RATE_HOUR and is_business_day(today):
        try:
            key = settings.fx_key.get_secret_value()
            found = fx.fetch(settings.fx_url, key, today, allow_private=settings.allow_private_upstreams)
            if found is not None:
                with engine.begin() as connection:
                    fx.enter(connection, [found], "billing")
                    age = fx.staleness(connection, today)
                redis.execute_command("PUBLISH", keys.NEWS, encode_news(News("catalogue")))
        except fx.RateError as reason:
            log.error("rate_not_fetched", reason=str(reason))
    metrics.RATE_AGE.set(age.business_days)
    if age.newest is None or age.business_days > settings.fx_stale_business_days:
        log.error("rate_is_stale", newest=str(age.newest), business_days=age.business_days,
                  selling_stops_after=settings.fx_stop_business_days)  # fmt: skip


def run(settings: Settings) -> int:
    """Runs the billing process until SIGTERM or SIGINT. Returns the exit code."""
    engine = connect.engine(settings.database_url, statement_timeout_ms=None)
    redis = gateway.redis.connect(settings.redis_url)
    loop = Loop(redis, engine, settings)
    loop.start()
    tasks = Runner(
        engine,
        gateway.redis.connect(settings.redis_url, reply_timeout_s=60),
        gateway.redis.connect(settings.redis_url),
    )
    tasks.start()
    teller = Teller(gateway.redis.connect(settings.redis_url), engine, settings)
    teller.start()
    health = probes.serve(settings, lambda: [loop.trouble] if loop.trouble else [], loop.measure)
    app = billing_app(settings.redis_url)
    add_tasks(app, engine, gateway.redis.connect(settings.redis_url, reply_timeout_s=60), settings)
    garbage.settle()
    try:
        with _schedule(app):
            code = _consume(app)
    finally:
        loop.stop()
        tasks.stop(TASKS_END_S)
        teller.stop()
        loop.join(LOOP_END_S)
        teller.join(TELLER_END_S)
        if health is not None:
            health.stop()
        engine.dispose()
    return code


def _consume(app: Any) -> int:
    """Runs the Celery worker in this thread; it handles the signals. Threads suit tasks that wait for the database."""
    worker = app.Worker(
        hostname=f"billing@{socket.gethostname()}", pool="threads", concurrency=TASK_THREADS, quiet=True,
        queues=[keys.BILLING_QUEUE], without_gossip=True, without_mingle=True, without_heartbeat=True,
        loglevel="WARNING",
    )  # fmt: skip
    shutting_down: Any = worker_shutting_down
    shutting_down.connect(_say_goodbye, weak=False)
    worker.start()
    return int(worker.exitcode or 0)


def _say_goodbye(**_: Any) -> None:
    log.info("billing_stopping")
    metrics.SETTLER.set(0)


@contextlib.contextmanager
def _schedule(app: Any) -> Generator[None]:
    """Beat in a thread. Its schedule is by the clock and its tasks may run twice, so it keeps no file of its own.

    Nobody waits for its end: it may be asleep until the next full hour, and ends with the process.
    """
    service = beat.Service(app, scheduler_cls=beat.Scheduler)
    thread = threading.Thread(target=_beat, args=(service,), name="beat", daemon=True)
    thread.start()
    yield
    service.stop()


def _beat(service: beat.Service) -> None:
    try:
        service.start(embedded_process=True)
    except Exception:
        log.exception("beat_ended")
        raise
