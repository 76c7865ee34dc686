"""What Prometheus reads. Labels take only values of our own choosing: no path, model or key that a client sends."""

from __future__ import annotations

from typing import Literal

from prometheus_client import Counter, Gauge, Histogram

Outcome = Literal["ok", "refused", "limited", "failed", "broken", "left"]
"""How a request ended for its client: with an answer, a 4xx, a 429, a 5xx, an error within a stream, or without its
client."""

REQUESTS = Counter("wonrouter_api_requests", "HTTP answers", ["surface", "endpoint", "status"])
SECONDS = Histogram(
    "wonrouter_api_request_seconds",
    "From the request's head to the answer's last byte",
    ["surface", "endpoint", "outcome"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
REFUSALS = Counter("wonrouter_api_admission_refusals", "Requests not admitted", ["reason"])
ADMITTED = Counter("wonrouter_api_admitted", "Jobs placed")
ADMISSION_SECONDS = Histogram(
    "wonrouter_api_admission_seconds",
    "From the start of an admission to its job or refusal, waits for the window included",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
RETRIES = Counter("wonrouter_api_admission_retries", "Admissions tried again inside one request", ["reason"])
OPEN = Gauge("wonrouter_api_open_relays", "Answers under way")
FIRST_FRAME = Histogram(
    "wonrouter_api_first_frame_seconds",
    "Time to the first token: from admission to the first frame with content (JSON: to the whole answer)",
    ["surface", "endpoint"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
CALLS = Gauge("wonrouter_api_calls", "Calls that the process has taken on")
BODY_BYTES = Gauge("wonrouter_api_body_bytes", "Bytes of requests' bodies in memory")
TURNS = Counter("wonrouter_api_turns", "Calls that waited for others which arrived at the same time")
CROWDED = Counter("wonrouter_api_connections_refused", "Connections beyond the process's limit")
STALLED = Counter("wonrouter_api_clients_cut", "Connections cut because their client did not read")
GAPS = Counter("wonrouter_api_relay_gaps", "Frames found missing")
RESENDS = Counter("wonrouter_api_relay_resends", "Resend requests sent to workers")
REPUBLISHED = Counter("wonrouter_api_relay_republished", "Job messages published again")
CANCELS = Counter("wonrouter_api_relay_cancels", "Jobs cancelled", ["why"])
KEPT = Counter("wonrouter_api_relay_kept_answers", "Answers read from their key instead of the channel")
BROKEN = Counter("wonrouter_api_relay_broken", "Answers ended with an explicit error by the relay", ["why"])
STALE = Counter("wonrouter_api_relay_stale_frames", "Frames of an attempt that lost its job")
SUBSCRIPTION_LOST = Counter("wonrouter_api_subscription_lost", "Times the reply subscription broke")
LOOP_LAG = Histogram(
    "wonrouter_api_loop_lag_seconds",
    "How late the event loop woke, looked at a few times a second",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
GUARDRAILS = Counter("wonrouter_api_guardrails", "Requests that a guardrail masked or refused", ["what"])
GUARDRAIL_EVENTS_LOST = Counter("wonrouter_api_guardrail_events_lost", "Events that no database took in time")

_answered: dict[tuple[str, str, int, Outcome], tuple[Counter, Histogram]] = {}
_first: dict[tuple[str, str], Histogram] = {}


def answered(surface: str, endpoint: str, status: int, ended: Outcome | None, seconds: float, first_s: float) -> None:
    """Counts one answer. Its counters are looked up once for each combination, not once for each request.

    Args:
        ended: how a stream ended that had begun well; None: the status says it all.
        first_s: seconds from admission to the first frame; below 0 where there was none.
    """
    outcome = ended or outcome_of(status)
    key = (surface, endpoint, status, outcome)
    found = _answered.get(key)
    if found is None:
        found = REQUESTS.labels(surface, endpoint, status), SECONDS.labels(surface, endpoint, outcome)
        _answered[key] = found
    found[0].inc()
    found[1].observe(seconds)
    if first_s >= 0:
        first = _first.get((surface, endpoint))
        if first is None:
            first = _first[surface, endpoint] = FIRST_FRAME.labels(surface, endpoint)
        first.observe(first_s)


def outcome_of(status: int) -> Outcome:
    """What an HTTP status means for the client. 499: it left before there was one."""
    if status < 400:
        return "ok"
    if status == 499:
        return "left"
    if status >= 500:
        return "failed"
    return "limited" if status == 429 else "refused"
