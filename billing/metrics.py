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
DEAD = Gauge("wonrouter_usage_dead", "Poison events waiting for a person")
OUTBOX = Gauge("wonrouter_outbox_waiting", "Changes not yet applied to the window")
REBUILDS = Counter("wonrouter_window_rebuilds_total", "Times the credit window was rebuilt")
EXPIRED = Counter("wonrouter_holds_expired_total", "Jobs ended because their worker was gone")
TOPUPS = Counter("wonrouter_topups_total", "Top-ups booked")
INVARIANT = Gauge("wonrouter_invariant_violations", "Rows that break an invariant; must be 0", ["name"])
SETTLER = Gauge("wonrouter_settler", "1 where this process had the settler's lock at its last turn")
TROUBLE = Counter("wonrouter_billing_retries_total", "Turns that ended because PostgreSQL or Redis was away")

ALERTS = Counter("wonrouter_alerts_raised_total", "Thresholds of limits that were passed")
ALERT_TRIES = Counter("wonrouter_alert_tries_total", "Tries to deliver an alert", ["channel", "state"])

BELOW_COST = Gauge("wonrouter_models_below_cost", "Models whose price is below what a provider charges for them")
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
