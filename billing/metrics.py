"""What the billing process counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from billing.records import Record

log = structlog.get_logger(__name__)

SETTLED = Counter("wonrouter_usage_settled_total", "Usage events booked", ["outcome"])
DUPLICATES = Counter("wonrouter_usage_duplicates_total", "Usage events that had been booked before")
POISON = Counter("wonrouter_usage_poison_total", "Usage events that could not be booked and wait in wr:dead")
LOSS = Counter("wonrouter_usage_over_hold_total", "Calls that cost more than a strict hold covered")
BATCH_SECONDS = Histogram("wonrouter_settlement_batch_seconds", "One transaction of settlement")
UNSETTLED = Gauge("wonrouter_usage_unsettled", "Usage events in the stream")
UNSETTLED_AGE = Gauge(
    "wonrouter_usage_unsettled_age_seconds", "How long the oldest usage event has waited to be booked"
)
DEAD = Gauge("wonrouter_usage_dead", "Poison events waiting for a person")
OUTBOX = Gauge("wonrouter_outbox_waiting", "Changes not yet applied to the window")
OUTBOX_AGE = Gauge("wonrouter_outbox_age_seconds", "How long the oldest of them has waited")
WINDOW_OPEN = Gauge("wonrouter_window_open", "1 while the credit window is open; else admission answers 503")
JOBS_WAITING = Gauge("wonrouter_jobs_waiting", "Jobs that wait for a worker")
JOBS_WAITING_AGE = Gauge("wonrouter_jobs_waiting_age_seconds", "How long the oldest of them has waited")
JOBS_OPEN = Gauge("wonrouter_jobs_open", "Open jobs, waiting or running: each has a hold and a slot")
BODIES_OPEN = Gauge("wonrouter_open_body_bytes", "Bodies above 16 KiB of open jobs, in Redis and in workers")
LEASES_LAPSED = Gauge(
    "wonrouter_leases_lapsed", "Open jobs whose lease has lapsed: their worker is gone, or nobody came"
)
LISTENING = Gauge("wonrouter_processes_listening", "Processes subscribed in Redis", ["process"])
REDIS_BYTES = Gauge("wonrouter_redis_used_bytes", "Memory that Redis uses")
REDIS_MOST_BYTES = Gauge("wonrouter_redis_limit_bytes", "Redis's maxmemory; 0: none is set")
REDIS_WRITES = Gauge("wonrouter_redis_append_only", "1 while Redis writes its append-only file without an error")
DATABASE_BYTES = Gauge("wonrouter_database_bytes", "Size of the database")
TURN_AGE = Gauge("wonrouter_billing_turn_age_seconds", "Since the settlement loop last finished a turn")
REBUILDS = Counter("wonrouter_window_rebuilds_total", "Times the credit window was rebuilt")
EXPIRED = Counter("wonrouter_holds_expired_total", "Jobs ended because their worker was gone")
TOPUPS = Counter("wonrouter_topups_total", "Top-ups booked")
TOPUPS_WAITING = Gauge("wonrouter_topups_waiting", "Top-ups asked for and not booked yet")
INVARIANT = Gauge("wonrouter_invariant_violations", "Rows that break an invariant; must be 0", ["name"])
INVARIANTS_AT = Gauge("wonrouter_invariants_run_timestamp_seconds", "When the books were last checked (Unix time)")
SETTLER = Gauge("wonrouter_settler", "1 where this process had the settler's lock at its last turn")
TROUBLE = Counter("wonrouter_billing_retries_total", "Turns that ended because PostgreSQL or Redis was away")

BELOW_COST = Gauge("wonrouter_models_below_cost", "Models whose price is below what a provider charges for them")
ALERTS = Counter("wonrouter_alerts_raised_total", "Thresholds of limits that were passed")
ALERT_TRIES = Counter("wonrouter_alert_tries_total", "Tries to deliver an alert", ["channel", "state"])
DELIVERIES = Gauge("wonrouter_alert_deliveries_waiting", "Messages to customers not delivered yet", ["channel"])
DELIVERY_OVERDUE = Gauge(
    "wonrouter_alert_delivery_overdue_seconds", "How long the most overdue of them should have been tried"
)
TASKS_OPEN = Gauge("wonrouter_tasks_open", "Tasks asked of billing that have not ended", ["state"])
TASK_AGE = Gauge("wonrouter_tasks_waiting_age_seconds", "How long the oldest waiting task has waited")
EXPORTS_OPEN = Gauge("wonrouter_exports_open", "Exports among the open tasks")
TASKS = Counter("wonrouter_tasks_total", "Tasks ended here", ["kind", "state"])
TASK_SECONDS = Histogram(
    "wonrouter_task_seconds", "Work on one task", ["kind"], buckets=(0.05, 0.25, 1, 5, 15, 60, 300, 900, 3600)
)

RATE_AGE = Gauge("wonrouter_fx_business_days", "Korean business days since the newest exchange rate's date")


def booked(fresh: Iterable[Record], duplicates: int) -> None:
    """Counts rows after their commit; a loss is an alarm, for a strict hold should have covered the call."""
    counts: dict[str, int] = {}
    for record in fresh:
        counts[record.event.outcome] = counts.get(record.event.outcome, 0) + 1
        if record.loss_won:
            LOSS.inc()
            log.error("strict_hold_exceeded", job=record.job, org=record.org, loss_won=str(record.loss_won))
    for outcome, count in counts.items():
        SETTLED.labels(outcome).inc(count)
    if duplicates:
        DUPLICATES.inc(duplicates)
