"""Every Redis key and channel of WonRouter, with its lifetime. Nobody writes a key name anywhere else in Python.

======================  ========  =====================================================================
key                     type      holds (lifetime)
======================  ========  =====================================================================
wr:epoch                string    the window's epoch; absent or different from PostgreSQL's = rebuilding
wr:o:{org}              hash      v, bal, held, slots, seq, m:{YYYYMM}, s:{model} (until the organisation ends)
wr:k:{key}              hash      v, spent, held, slots, s:{model} (until the key is deleted)
wr:j:{job}              hash      an open job and its hold (deleted at its end)
wr:b:{job}              string    the sealed job (TTL body_ttl_s; deleted at its end)
wr:a:{job}              string    the kept answer, sealed (TTL kept_ttl_s)
wr:long                 hash      "all" and {org} -> bytes of the long bodies of open jobs (with the last of them)
wr:leases               zset      open job -> when its lease lapses (milliseconds of Redis's clock)
wr:r:{scope}            list      times of the last requests, newest first (TTL 60 s)
wr:t:{scope}            hash      tokens counted per second (TTL 62 s)
wr:i:{record}           hash      one Idempotency-Key: fp, tok, until, jobs, micro, st, ans sealed (TTL a day)
wr:iq:{org}             zset      the organisation's records -> when they are forgotten (TTL a day)
wr:ib:{org}             string    bytes of kept answers (TTL a day)
wr:l:{scope}            string    tries to sign in, of one account or address (TTL the throttle's period)
wr:d:{deployment}       hash      breaker, turn and health of a deployment (a day after its last call)
wr:refused              hash      "{limit} {org or key}" refused for credit since billing looked (taken every few s)
wr:settler              string    which billing process settles (TTL 15 s)
wr:usage                stream    usage events not settled yet
wr:dead                 stream    poison events, kept for replay
wr:calls                list      the Celery queue of the call workers
wr:ready                list      organisations with jobs that wait for a worker; the first one's turn is next
wr:ready:{org}          list      its waiting jobs, oldest first
wr:waiting              string    how many jobs wait in all
wr:later, wr:later:{org}, wr:deferred       the same three of jobs in the background
wr:turns                string    jobs taken since the last of the background, while one waits there (TTL 600 s)
wr:pace                 hash      jobs, ms, at, since: how workers took jobs while more were left (TTL 60 s)
wr:called               string    a call is on its way to a worker (TTL half a second)
wr:calls:told           string    how many calls there were while workers were awake: every eighth is a message all the same
wr:woken                string    a moment ago a message went out for workers that sleep
wr:awake                zset      worker that listens for calls -> when it last took jobs
wr:reply:{instance}     channel   frames for one api process
wr:ctl:{worker}         channel   calls, cancel and resend requests for one worker process
wr:news                 channel   invalidations: keys, organisations, catalogue, deployments
======================  ========  =====================================================================
"""

from __future__ import annotations

EPOCH = "wr:epoch"
LEASES = "wr:leases"
LONG = "wr:long"
USAGE = "wr:usage"
DEAD = "wr:dead"
CALL_QUEUE = "wr:calls"
READY = "wr:ready"
WAITING = "wr:waiting"
LATER = "wr:later"
DEFERRED = "wr:deferred"
PACE = "wr:pace"
CALLED = "wr:called"
AWAKE = "wr:awake"
BILLING_QUEUE = "wr:billing"
NEWS = "wr:news"
REFUSED = "wr:refused"
SETTLER = "wr:settler"

ORG_PREFIX = "wr:o:"
KEY_PREFIX = "wr:k:"
JOB_PREFIX = "wr:j:"
BODY_PREFIX = "wr:b:"
KEPT_PREFIX = "wr:a:"
RATE_PREFIX = "wr:r:"
TOKENS_PREFIX = "wr:t:"
ONCE_PREFIX = "wr:i:"
ONCE_ORG_PREFIX = "wr:iq:"
ONCE_BYTES_PREFIX = "wr:ib:"
TRIES_PREFIX = "wr:l:"
DEPLOYMENT_PREFIX = "wr:d:"
REPLY_PREFIX = "wr:reply:"
CONTROL_PREFIX = "wr:ctl:"

COMPLETE_TASK = "workers.complete"


def org(org_id: str) -> str:
    """The organisation's window."""
    return ORG_PREFIX + org_id


def key(key_id: str) -> str:
    """The API key's window."""
    return KEY_PREFIX + key_id


def ready(org_id: str) -> str:
    """The organisation's jobs that wait for a worker."""
    return f"{READY}:{org_id}"


def later(org_id: str) -> str:
    """The organisation's jobs that wait in the background."""
    return f"{LATER}:{org_id}"


def kept(job_id: str) -> str:
    """Where a job's final frame is kept for a minute."""
    return KEPT_PREFIX + job_id


def rate(scope: str) -> str:
    """Request times of one limited scope, e.g. ``k:{key}`` or ``o:{org}``."""
    return RATE_PREFIX + scope


def tokens(scope: str) -> str:
    """Tokens of the last minute of one limited scope, e.g. ``k:{key}`` or ``o:{org}:{model}``."""
    return TOKENS_PREFIX + scope


def once(record: str) -> str:
    """What became of the call with one Idempotency-Key; ``record`` is a keyed hash."""
    return ONCE_PREFIX + record


def once_of(org_id: str) -> str:
    """The organisation's records of Idempotency-Keys."""
    return ONCE_ORG_PREFIX + org_id


def once_bytes(org_id: str) -> str:
    """How many bytes of answers are kept for the organisation's Idempotency-Keys."""
    return ONCE_BYTES_PREFIX + org_id


def model_slots(model: str) -> str:
    """The field of the organisation's and the key's window that counts a model's open calls."""
    return "s:" + model


def tries(scope: str) -> str:
    """How often somebody tried to sign in, as an account or from an address; ``scope`` is a keyed hash."""
    return TRIES_PREFIX + scope


def reply(instance: str) -> str:
    """The channel on which one api process receives frames."""
    return REPLY_PREFIX + instance


def control(worker: str) -> str:
    """The channel on which one worker process is told of waiting jobs, cancels and requests to send again."""
    return CONTROL_PREFIX + worker
