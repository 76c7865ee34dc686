"""What an adapter is: a translation between OpenAI's shapes and one provider's, without any I/O.

An adapter turns a `ProviderCall` into an `UpstreamRequest`, and its reader turns the bytes of the answer into events.
Any split of the bytes gives the same events. It knows no HTTP client, database, queue or Redis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

import msgspec

from gateway.catalogue.model import Model
from gateway.deployments.deployment import Deployment
from gateway.wire.event import Tokens

FailureKind = Literal[
    "rate_limited",
    "overloaded",
    "context_length",
    "content_policy",
    "credentials",
    "bad_request",
    "not_found",
    "server",
    "connect",
    "timeout",
    "cut",
    "stalled",
    "unreadable",
]
"""`credentials`: about our account, never shown to a customer. `connect`: no connection, nothing was sent.
`cut`, `stalled`: the answer broke off or fell silent. `unreadable`: not what the dialect allows."""

RETRYABLE: frozenset[FailureKind] = frozenset(
    {
        "rate_limited",
        "overloaded",
        "server",
        "connect",
        "timeout",
        "cut",
        "stalled",
        "unreadable",
        "credentials",
        "not_found",
    }
)
"""Another deployment may well answer. The others are about the request itself and would fail anywhere."""


class Fetched(msgspec.Struct, frozen=True):
    """What a URL of the client's led to: its media type and its bytes."""

    media_type: str
    data: bytes


class ProviderCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call as the routing decided it.

    `fields` is the client's body, top level only, each value still JSON. `cap` is the output limit to send, in tokens
    per choice; None leaves the client's own as it is. `client_request_id` goes out with the request, so that a
    provider's log can be matched to an attempt whose answer never came. `fetched` holds what the adapter asked for
    with `to_fetch`, by URL.
    """

    model: Model
    deployment: Deployment
    fields: Mapping[str, msgspec.Raw]
    stream: bool
    cap: int | None
    client_request_id: str
    fetched: Mapping[str, Fetched] = {}


class Script(msgspec.Struct, frozen=True):
    """An answer that needs no network: `(wait in seconds, bytes)` one after the other, then how it ends."""

    status: int
    headers: Mapping[str, str]
    steps: Iterable[tuple[float, bytes]]
    ending: Literal["end", "cut", "silence"] = "end"


class UpstreamRequest(msgspec.Struct, frozen=True):
    """An HTTP request to a provider, or the script of one that is only played."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes
    script: Script | None = None


class UpstreamId(msgspec.Struct, frozen=True):
    """The provider's own id of its answer."""

    id: str


class Delta(msgspec.Struct, frozen=True):
    """A piece of one choice in OpenAI's shape. `content` tells whether a reader of the answer sees anything of it."""

    index: int
    delta: dict[str, Any]
    finish_reason: str | None = None
    logprobs: Any = None
    content: bool = False


class Usage(msgspec.Struct, frozen=True):
    """What the provider says was used; a later one replaces an earlier."""

    tokens: Tokens


class Whole(msgspec.Struct, frozen=True):
    """A complete answer in OpenAI's shape; values may be `msgspec.Raw`."""

    fields: dict[str, Any]


class Extra(msgspec.Struct, frozen=True):
    """Top-level fields of a stream that OpenAI's clients may read (`system_fingerprint`, `citations`, …)."""

    fields: dict[str, Any]


class Warned(msgspec.Struct, frozen=True):
    """Something of the answer was lost or left out; the client is told at its end."""

    code: str
    message: str


class Done(msgspec.Struct, frozen=True):
    """The answer is complete."""


class ProviderFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an attempt failed. `status` is 0 where no HTTP answer came; `body` is the provider's own, for passing on."""

    kind: FailureKind
    message: str = ""
    status: int = 0
    retry_after_s: float | None = None
    body: bytes = b""
    content_type: str = "application/json"

    @property
    def retryable(self) -> bool:
        """Whether another attempt may succeed."""
        return self.kind in RETRYABLE


class Failed(msgspec.Struct, frozen=True):
    """The answer went wrong after its headers had come."""

    failure: ProviderFailure


Event = UpstreamId | Delta | Usage | Whole | Extra | Warned | Done | Failed


class Reader(Protocol):
    """Reads one answer. After `Done` or `Failed` nothing more comes."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes."""
        ...

    def end(self) -> list[Event]:
        """The events that the end of the body completes; a body that ends too early gives `Failed`."""
        ...


class Adapter(Protocol):
    """One dialect."""

    counts_deltas: bool
    """Each content-bearing delta is one token or more, so their number is a safe estimate of the output."""

    def to_fetch(self, call: ProviderCall) -> tuple[str, ...]:
        """URLs in the client's messages that the provider does not load itself.

        The caller loads them through the guarded client and gives them back in `call.fetched` before `request`.
        """
        ...

    def request(self, call: ProviderCall) -> UpstreamRequest:
        """What to send. A call that this model cannot serve gives a script with a 400 that says why."""
        ...

    def reader(self, call: ProviderCall) -> Reader:
        """A reader for the answer to `call`."""
        ...

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
        """What an HTTP answer other than 2xx means. Header names are lower case."""
        ...
