"""What a worker counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

OPEN_CALLS = Gauge("wonrouter_worker_open_calls", "Calls this worker runs now")
ATTEMPTS = Counter("wonrouter_worker_attempts", "Calls to providers", ["provider", "outcome"])
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
LOOP_LAG = Gauge("wonrouter_worker_loop_lag_seconds", "How late the event loop woke for its last heartbeat")
KEPT_BYTES = Gauge("wonrouter_worker_resend_bytes", "Frames kept for resending")
BREAKER_OPEN = Gauge("wonrouter_deployment_breaker_open", "1 while a deployment's breaker is open", ["deployment"])
ERROR_RATE = Gauge(
    "wonrouter_deployment_error_rate", "Share of failed calls, decayed, over all workers", ["deployment"]
)
LATENCY = Gauge(
    "wonrouter_deployment_first_token_seconds", "Decayed mean time to the first token, over all workers", ["deployment"]
)
