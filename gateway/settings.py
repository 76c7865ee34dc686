"""One frozen settings object per process, read once from the environment.

Every limit stands here with its reason; names in the environment are the field names in upper case with the
prefix ``WONROUTER_`` (``DATABASE_URL`` and ``REDIS_URL`` go without it, as every platform sets them).
"""

from __future__ import annotations

import functools
from typing import Annotated

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.seal import Sealer, secret_of, secrets_of


class Settings(BaseSettings):
    """What a process needs to run. Raises ``pydantic.ValidationError`` that names the missing variable."""

    model_config = SettingsConfigDict(
        env_prefix="WONROUTER_", frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    database_url: Annotated[str, Field(validation_alias=AliasChoices("DATABASE_URL", "database_url"))]
    redis_url: Annotated[str, Field(validation_alias=AliasChoices("REDIS_URL", "redis_url"))]
    secret: SecretStr
    """32 bytes in base64: seals job bodies, kept answers and provider keys. Never stored in Redis or PostgreSQL."""
    secrets_accepted: SecretStr = SecretStr("")
    """Further secrets, separated by commas, whose seals open as well: the next one or the last while it is replaced."""
    hash_secret: SecretStr = SecretStr("")
    """Keys the hashes that later ones are compared with: end users, ``Idempotency-Key``s, sessions' CSRF tokens. Empty:
    ``secret``. It opens nothing, and stays what it was when ``secret`` is replaced."""

    log_level: str = "INFO"
    sandbox: bool = False
    """Offers the ``sandbox/*`` models and their deployments."""
    public_url: str = ""
    """Where customers reach the installation (scheme and host), for links in e-mails and examples."""

    smtp_url: SecretStr = SecretStr("")
    """``smtp://user:password@host:587`` or ``smtps://…``. Empty: no mail; links are shown to whoever asks for them.
    So they are without ``public_url``: what is mailed is never made of what a request says of our address."""
    mail_from: str = ""
    """The sender of mail; empty: wonrouter@ the server's host."""

    oidc_issuer: str = ""
    """A company's own identity provider, as its discovery document names itself. Empty: passwords only."""
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr = SecretStr("")
    oidc_domains: dict[str, str] = {}
    """Domain of an e-mail address -> id of the organisation whose member everybody of it becomes (JSON). Others need an
    invitation."""
    oidc_allow_private: bool = False
    """The provider may stand at a private address, and without TLS (self-hosted, tests)."""

    provider_register: str = ""
    """A TOML file with what the operator's contracts say of each provider (see gateway/deployments/register.toml)."""

    # moderation
    moderation_url: str = ""
    """An endpoint like OpenAI's ``/v1/moderations`` that judges the prompts of organisations that want it; empty: none."""
    moderation_key: SecretStr = SecretStr("")
    moderation_model: str = ""
    """Empty: the endpoint chooses."""
    moderation_timeout_s: float = 3.0
    """A prompt that has not been judged by then is refused with 503: every call of these organisations waits for it."""
    moderation_provider: str = "openai"
    """Whose endpoint it is, by its name in the register of providers."""
    moderation_domestic: bool = False
    """It answers from within Korea. Otherwise organisations with the domestic-only switch cannot turn it on."""
    moderation_no_training: bool = False
    """It does not train on what it reads, by contract."""

    trace_upstreams: bool = False
    """Providers get a ``traceparent`` header with each call, where traces are made: for models in the operator's own
    network. Off: no third party learns of our traces."""

    # api
    host: str = "127.0.0.1"
    port: int = 8000
    metrics_port: int = 0
    """Where a process alone answers /metrics, /healthz and /readyz, an api process too, which may share its port with
    others; 0 turns it off."""
    metrics_host: str = "127.0.0.1"
    max_body_bytes: int = 32 * 1024 * 1024
    """A request larger than this is 413 before it is parsed: twenty images at provider limits fit."""
    max_json_depth: int = 64
    """Deeper JSON is refused before parsing: no client needs it, and recursion is memory."""
    identity_cache_s: float = 5.0
    """How long an api process believes a key without asking; the admission script compares versions anyway."""
    header_silence_s: float = 10.0
    """A streamed answer's headers go out after this much silence, then keep-alive comments."""
    keepalive_s: float = 10.0
    client_buffer_bytes: int = 4 * 1024 * 1024
    """Unsent bytes kept for a client that reads slowly; beyond it the client is cut off and the call cancelled."""
    most_calls: int = 10_000
    """Calls that one api process takes on: with sixty kilobytes for each they are 600 MB. One organisation may have half."""
    most_body_bytes: int = 256 * 1024 * 1024
    """Bodies in one process's memory at once, from the first byte read to the job's placement: eight of the largest."""
    most_arriving: int = 2_000
    """Calls that wait for others which arrived at the same time."""
    arriving_wait_s: float = 1.0
    """How long the oldest of an organisation may have waited so; then its next one is refused. A burst of some hundred
    calls passes."""
    most_lag_s: float = 1.0
    """Where a tick of the event loop takes longer than this on average, new calls are refused: those that are under way
    would be the ones to wait."""
    long_at_once: int = 2
    """Bodies above 64 KiB that are read and checked at once: there is one interpreter, more only get in each other's way."""
    most_long: int = 256
    """Such bodies that wait for their turn."""
    most_connections: int = 16_000
    """Open connections of one process, most of them idle: ten thousand clients and as many again for what changes hands.
    Beyond it a request gets 503 and its connection is closed; probes are answered all the same."""
    client_stall_s: float = 60.0
    """A client that takes no byte of an answer for this long is cut off."""
    client_buffers_bytes: int = 512 * 1024 * 1024
    """Unsent bytes of all clients of one process together; beyond it the one with the most is cut off."""
    drain_s: float = 30.0
    """How long SIGTERM waits for answers under way."""
    drain_lead_s: float = 0.5
    """Before that, the time between "/readyz says no" and the closed door: more than a balancer's interval."""

    # idempotency
    idempotency_answer_bytes: int = 4 * 1024 * 1024
    """A longer answer is not kept for its Idempotency-Key: a hundred thousand tokens as a stream fit."""
    idempotency_org_bytes: int = 64 * 1024 * 1024
    """Kept answers of one organisation in a day, compressed: Redis holds the credit window too, and must not fill up."""
    idempotency_org_keys: int = 20_000
    """Idempotency-Keys of one organisation that are remembered at once; beyond it calls with a new key get 429."""

    # queue
    queue_max: int = 20_000
    """Jobs waiting for a worker; beyond it admission answers 503 at once instead of promising what it cannot keep."""
    queue_wait_s: float = 3.0
    """Whoever would wait longer for a worker is refused now, going by the pace at which workers take jobs: the SDKs try
    again by themselves, and an answer that begins late is worth less than a quick no. Where the queue has not been empty
    for as long it is a sixth of this: a burst may wait, in a flood whoever is served is served soon."""
    flex_queue_max: int = 20_000
    """Jobs that wait in the background (``service_tier: "flex"``), in a queue of their own."""
    flex_wait_s: float = 300.0
    """How long such a job may wait: half of the ten minutes after which the SDKs give up."""
    open_body_bytes: int = 1024 * 1024 * 1024
    """Bodies above 16 KiB of all open calls together: Redis has them until the calls end, and so have the workers. One
    organisation may have half; ten thousand prompts of a hundred kilobytes fit."""
    body_ttl_s: int = 1_800
    """Sealed job bodies vanish from Redis after this, whatever happens."""
    kept_ttl_s: int = 60
    unclaimed_s: float = 2.0
    """An unclaimed job is published again after this, at most twice."""
    placed_lease_s: float = 60.0
    """A job nobody claims is voided after this."""
    lease_s: float = 5.0
    """A worker renews its claim every heartbeat; after this long without, another worker may claim the job."""
    expiry_grace_s: float = 12.0
    """Time beyond a lapsed lease in which another worker may still take over; then the hold expires."""
    heartbeat_s: float = 1.0
    nobody_listens_s: float = 3.0
    """A worker stops a call whose reply channel has had no subscriber for this long."""

    # worker
    worker_calls: int = 5_000
    """Calls one worker process runs at once."""
    worker_tick_s: float = 0.05
    """Where a tick of a worker's loop takes longer, it takes no more jobs until it has caught up: they are better off in
    the queue, where their organisations take turns, than in a worker that does everything late."""
    resend_buffer_bytes: int = 64 * 1024 * 1024
    """Frames kept in a worker's memory so that a relay can ask again for what it missed."""
    connect_timeout_s: float = 5.0
    first_token_timeout_s: float = 0.0
    """Above zero it overrides every model's own limit (tests run in seconds with it)."""
    idle_timeout_s: float = 0.0
    total_timeout_s: float = 0.0
    most_attempts: int = 8
    """Calls to providers for one request, hedges and continuations included: trouble must not be multiplied."""
    request_budget_s: float = 0.0
    """Seconds for all attempts of a request; 0 takes twice the total limit of the deployments that are asked first."""
    backoff_s: float = 0.25
    """Before a deployment is asked again, with jitter: long enough for a blip to pass, short enough to go unseen."""
    retry_after_most_s: float = 2.0
    """A longer Retry-After is not waited for: the next deployment is asked, or the client is told."""
    rate_limit_attempts: int = 3
    """How often a deployment that answers 429 without saying when to come back is asked for one request."""
    rate_limit_s: float = 3.0
    """Within which time those attempts have to lie."""
    alone_patience: float = 2.0
    """A silent deployment may take this many first-token limits while another is asked, or where no other is left."""
    breaker_failures: int = 5
    """This many failures within `breaker_window_s`, and at least half of the calls, open a deployment's breaker."""
    breaker_window_s: float = 10.0
    breaker_probe_s: float = 1.0
    """An open deployment gets one call per interval, over all workers: recovery is seen within a second or two."""
    breaker_patience_s: float = 3.0
    """How long a request waits for a probe where every deployment's breaker is open."""
    choice_patience_s: float = 0.5
    """Redis answers in a millisecond; a call does not wait longer for an even distribution."""
    health_every_s: float = 1.0
    """How often a worker tells Redis of its good calls and learns the breakers' states."""
    health_half_life_s: float = 60.0
    """Error rates and latencies lose half of their weight in this time."""
    allow_private_upstreams: bool = False
    """What operators fetch from (the exchange rate) may have a private or loopback address. Deployments may always:
    operators wrote them down. URLs that customers choose never may."""

    # alerts
    allow_private_webhooks: bool = False
    """Customers' webhooks may lead to private or loopback addresses (an installation of one company, tests)."""
    webhook_timeout_s: float = 10.0
    """A receiver that has not answered by then is tried again later."""

    # billing
    settle_batch: int = 1_000
    """Usage events per transaction: larger gains little and holds locks longer."""
    settle_idle_s: float = 0.2
    fx_stale_business_days: int = 5
    """Older than this the exchange rate raises an alarm."""
    fx_url: str = ""
    """Where the daily rate is fetched from (Korea Eximbank's shape); empty: rates are entered by hand."""
    fx_key: SecretStr = SecretStr("")
    """The key that this address asks for."""
    usage_retires_by_itself: bool = False
    """The billing process retires the calls of months that need not be kept any longer. Off: two people do."""
    fx_stop_business_days: int = 15
    """Older than this nothing is sold: the price would be a guess."""

    @field_validator("secret", "secrets_accepted", "hash_secret")
    @classmethod
    def _secrets_are_keys(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        text = value.get_secret_value()
        if info.field_name == "secrets_accepted":
            secrets_of(text)
        elif text or info.field_name == "secret":
            secret_of(text)
        return value

    def sealer(self, purpose: str) -> Sealer:
        """Seals with ``secret``; opens what it or an accepted one sealed."""
        accepted = secrets_of(self.secrets_accepted.get_secret_value())
        return Sealer(secret_of(self.secret.get_secret_value()), purpose, accepted)

    @property
    def hash_key(self) -> bytes:
        """The 32 bytes behind ``hash_secret``."""
        return secret_of(self.hash_secret.get_secret_value() or self.secret.get_secret_value())


def in_words(error: ValidationError) -> str:
    """Which variables are wrong or missing and why, in one line without their values."""
    found = [
        (str(each["loc"][0]), each["msg"].removeprefix("Value error, "))
        for each in error.errors(include_input=False, include_url=False)
    ]
    return "; ".join(f"{name if name.isupper() else f'WONROUTER_{name.upper()}'}: {why}" for name, why in found)


@functools.cache
def settings() -> Settings:
    """The process's settings, read from the environment at first use."""
    return Settings()  # pyright: ignore[reportCallIssue]  # the fields come from the environment
