"""What a worker counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

OPEN_CALLS = Gauge("wonrouter_worker_open_calls", "Calls this worker runs now")
PLACES = Gauge("wonrouter_worker_places", "Calls this worker may run at once")
QUEUE_SECONDS = Histogram(
    "wonrouter_worker_queue_seconds",
    "From admission to the first claim: how long jobs wait for a worker",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
ATTEMPTS = Counter("wonrouter_worker_attempts", "Calls to providers", ["provider", "outcome"])
ATTEMPT_SECONDS = Histogram(
    "wonrouter_worker_attempt_seconds",
    "From the request to a provider to the end of its answer",
    ["provider", "outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
FIRST_TOKEN = Histogram(
    "wonrouter_worker_first_token_seconds",
    "From the request to a provider to the first content of its answer",
    ["provider"],
    buckets=(0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 30, 60, 120, 300),
)
FRAMES = Counter("wonrouter_worker_frames", "Frames published")
RESENDS = Counter("wonrouter_worker_resends", "Requests to publish frames again")
LOST_LEASES = Counter("wonrouter_worker_lost_leases", "Jobs that another worker took over")
NOBODY = Counter("wonrouter_worker_nobody_listened", "Calls stopped because their front end was gone")
JOBS = Counter("wonrouter_worker_jobs", "Jobs ended here", ["outcome"])
JOB_SECONDS = Histogram(
    "wonrouter_worker_job_seconds",
    "From admission to the end of a job",
    ["surface", "outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
NOT_PUBLISHED = Counter(
    "wonrouter_worker_publish_failures", "PUBLISH commands that Redis did not take; their relays ask again"
)
LOOP_LAG = Histogram(
    "wonrouter_worker_loop_lag_seconds",
    "How late the event loop woke for its heartbeats",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
KEPT_BYTES = Gauge("wonrouter_worker_resend_bytes", "Frames kept for resending")
BREAKER_OPEN = Gauge("wonrouter_deployment_breaker_open", "1 while a deployment's breaker is open", ["deployment"])
ERROR_RATE = Gauge(
    "wonrouter_deployment_error_rate", "Share of failed calls, decayed, over all workers", ["deployment"]
)
LATENCY = Gauge(
    "wonrouter_deployment_first_token_seconds", "Decayed mean time to the first token, over all workers", ["deployment"]
)


def forget(deployment: str) -> None:
    """A deployment that is no more has no state: an open breaker would stand in the gauges for ever."""
    for gauge in (BREAKER_OPEN, ERROR_RATE, LATENCY):
        gauge.remove(deployment)
