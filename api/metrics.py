"""What Prometheus reads. Labels take only values of our own choosing: no path, model or key that a client sends."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("wonrouter_api_requests", "HTTP answers", ["surface", "endpoint", "status"])
SECONDS = Histogram(
    "wonrouter_api_request_seconds",
    "From the request's head to the answer's last byte",
    ["endpoint"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
REFUSALS = Counter("wonrouter_api_admission_refusals", "Requests not admitted", ["reason"])
ADMITTED = Counter("wonrouter_api_admitted", "Jobs placed")
RETRIES = Counter("wonrouter_api_admission_retries", "Admissions tried again inside one request", ["reason"])
OPEN = Gauge("wonrouter_api_open_relays", "Answers under way")
FIRST_FRAME = Histogram(
    "wonrouter_api_first_frame_seconds",
    "From admission to the first frame with content",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
GAPS = Counter("wonrouter_api_relay_gaps", "Frames found missing")
RESENDS = Counter("wonrouter_api_relay_resends", "Resend requests sent to workers")
REPUBLISHED = Counter("wonrouter_api_relay_republished", "Job messages published again")
CANCELS = Counter("wonrouter_api_relay_cancels", "Jobs cancelled", ["why"])
KEPT = Counter("wonrouter_api_relay_kept_answers", "Answers read from their key instead of the channel")
BROKEN = Counter("wonrouter_api_relay_broken", "Answers ended with an explicit error by the relay", ["why"])
STALE = Counter("wonrouter_api_relay_stale_frames", "Frames of an attempt that lost its job")
SUBSCRIPTION_LOST = Counter("wonrouter_api_subscription_lost", "Times the reply subscription broke")
GUARDRAILS = Counter("wonrouter_api_guardrails", "Requests that a guardrail masked or refused", ["what"])
GUARDRAIL_EVENTS_LOST = Counter("wonrouter_api_guardrail_events_lost", "Events that no database took in time")
