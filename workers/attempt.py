"""One call to one deployment: request out, events in, its record kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog

from gateway import tracing
from gateway.http import UpstreamTransport
from gateway.settings import Settings
from gateway.wire.event import Attempt as Record
from workers import images, metrics
from workers.call import Call
from workers.leases import Leases
from workers.providers.base import (
    Delta,
    Done,
    Event,
    Failed,
    ProviderCall,
    ProviderFailure,
    UpstreamId,
    Usage,
    Warned,
    Whole,
)
from workers.providers.parameters import choices_of
from workers.routing.candidates import Candidate
from workers.routing.turns import Turns
from workers.share import Share
from workers.transport import MAX_BODY_BYTES, MAX_ERROR_BYTES, Upstream, UpstreamFailed

log = structlog.get_logger("workers.attempt")

UNREADABLE = "unreadable_event"
"""The code of the warning with which adapters mark an event that they could not read."""

AFTER_FINISH_S = 2.0
"""How long usage may still come once every choice has ended; then the answer is complete without it."""
DRAIN_S = 1.0
"""How long the end of a body may take after its last event, so that the connection can be used again."""


class Limits(msgspec.Struct, frozen=True):
    """Seconds that one attempt may take. `first_token_s` is when another is asked, `silence_s` when it is given up."""

    first_token_s: float
    silence_s: float
    idle_s: float
    total_s: float


def limits_of(candidate: Candidate, settings: Settings) -> Limits:
    """The deployment's own limits, else what the settings say for all, else the model's."""
    model, deployment = candidate.model, candidate.deployment
    first = (
        deployment.time_limit("first_token_timeout_s") or settings.first_token_timeout_s or model.first_token_timeout_s
    )
    return Limits(
        first,
        first * max(1.0, settings.alone_patience),
        deployment.time_limit("idle_timeout_s") or settings.idle_timeout_s or model.idle_timeout_s,
        deployment.time_limit("total_timeout_s") or settings.total_timeout_s or model.total_timeout_s,
    )


class Asked(msgspec.Struct, frozen=True):
    """What an attempt asks of whom. `cap` is the output limit to send; None leaves the client's own.

    `added`: input tokens, at least, that the client's own request did not have. `probe`: the breaker is open.
    """

    candidate: Candidate
    fields: Mapping[str, msgspec.Raw]
    stream: bool
    cap: int | None
    probe: bool = False
    added: int = 0
    prefilled: bool = False


class Attempt:
    """A context manager around one upstream call.

    `may_leave` tells, when an event cannot be read, whether somebody else can give the answer: then it is a failure,
    otherwise the event is skipped with a warning.

    `start` returns the events up to the first content, `more` the next ones; both raise `UpstreamFailed`, after which
    the attempt is over. `Done` is the last event.
    """

    def __init__(
        self,
        call: Call,
        asked: Asked,
        limits: Limits,
        http: UpstreamTransport,
        pictures: UpstreamTransport,
        turns: Turns,
    ) -> None:
        candidate = asked.candidate
        n, request_id = call.next_attempt()
        deployment = candidate.deployment
        self.record = Record(
            n=n,
            epoch=call.epoch,
            model=candidate.model.id,
            deployment=deployment.id,
            provider=deployment.provider,
            client_request_id=request_id,
            started_ms=call.now_ms(),
        )
        self.done = False
        self.asked = asked
        self.traced_upstream = False
        """Whether the provider is told of the trace."""
        self.may_leave: Callable[[], bool] = lambda: False
        self._call = call
        self._turns = turns
        self._adapter = candidate.adapter
        self._wanted = ProviderCall(
            model=candidate.model,
            deployment=deployment,
            fields=asked.fields,
            stream=asked.stream,
            cap=asked.cap,
            client_request_id=request_id,
        )
        self._limits = limits
        self._http = http
        self._pictures = pictures
        self._upstream = Upstream(http, self._adapter.request(self._wanted))
        self._reader = self._adapter.reader(self._wanted)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._total = self._began + limits.total_s
        self._failure: ProviderFailure | None = None
        self._told_slow = False
        self._has_health = deployment.provider != "sandbox"  # its failures are what it is for: no breaker opens
        self._choices = choices_of(self._wanted)
        self._span: Any = None
        self._open_choices: set[int] = set()
        self._ended_choices: set[int] = set()

    async def start(self, leases: Leases) -> list[Event]:
        """Sends the request; returns everything up to and with the first content of the answer."""
        self._call.begin_attempt(self.record)
        if self.record.n == 1:
            leases.note(self._call)  # an epoch whose note is lost is known to have begun one
        else:
            await leases.save(self._call)
        if self._call.span is not None:
            self._begin_span()
        await self._load_pictures()
        if self.traced_upstream and (header := tracing.header(self._span)):
            self._upstream.added["traceparent"] = header
        first = self._total
        if self._wanted.stream:
            first = min(first, self._began + self._limits.silence_s)
        body = await self._upstream.open(first)
        self.record.status = body.status
        if not 200 <= body.status < 300:
            raw = await self._upstream.rest(first, MAX_ERROR_BYTES)
            raise UpstreamFailed(self._adapter.failure(body.status, body.headers, raw))
        body.forget_head()
        events = await self._until_first(first)
        self.record.first_ms = self._call.now_ms()
        first_s = self._loop.time() - self._began
        metrics.FIRST_TOKEN.labels(self.record.provider).observe(first_s)
        self._turns.spoke(self.record.deployment, first_s, self.asked.probe)
        if not self.done and any(isinstance(event, UpstreamId) for event in events):
            leases.note(self._call)
        return events

    def _begin_span(self) -> None:
        record = self.record
        self._span = tracing.start(
            f"attempt {record.provider}",
            "client",
            parent=tracing.header(self._call.span),
            attributes={
                "gen_ai.provider.name": record.provider,
                "gen_ai.request.model": record.model,
                "wonrouter.deployment": record.deployment,
                "wonrouter.attempt": record.client_request_id,
                "wonrouter.probe": self.asked.probe,
            },
        )

    def _end_span(self, reason: str, billed: bool) -> None:
        record = self.record
        told: dict[str, tracing.Value] = {
            "http.response.status_code": record.status,
            "wonrouter.reason": reason,
            "wonrouter.billed": billed,
        }
        if record.first_ms is not None:
            told["wonrouter.first_token_ms"] = record.first_ms - record.started_ms
        tracing.end(self._span, told, error="" if reason in {"ok", "slower", "cancelled"} else reason)
        self._span = None

    async def _load_pictures(self) -> None:
        """Where the provider wants pictures inside the request and the client gave their URLs."""
        if urls := self._adapter.to_fetch(self._wanted):
            fetched = await images.load(self._pictures, urls)
            wanted = msgspec.structs.replace(self._wanted, fetched=fetched)
            self._upstream = Upstream(self._http, self._adapter.request(wanted))

    async def _until_first(self, deadline: float) -> list[Event]:
        events: list[Event] = []
        size = 0
        while True:
            try:
                data = await self._upstream.read(deadline)
            except UpstreamFailed as failed:
                if failed.failure.kind == "stalled":
                    late = ProviderFailure(
                        kind="timeout", message="no first token in time", status=self._upstream.status
                    )
                    raise UpstreamFailed(late) from failed
                raise
            size += len(data)
            if size > MAX_BODY_BYTES:
                raise UpstreamFailed(ProviderFailure(kind="unreadable", message="the answer is too large", status=200))
            events += self._read(data)
            speaks = any(
                isinstance(event, Whole | Done) or (isinstance(event, Delta) and (event.content or event.finish_reason))
                for event in events
            )
            if speaks:
                return events
            if self._failure is not None:
                raise UpstreamFailed(self._failure)

    async def more(self) -> list[Event]:
        """The next events; `Done` comes last. Raises `UpstreamFailed` where the answer cannot go on."""
        while True:
            if self._failure is not None:
                return self._give_up(self._failure)
            idle = min(self._limits.idle_s, AFTER_FINISH_S) if self._all_ended else self._limits.idle_s
            try:
                data = await self._upstream.read(min(self._loop.time() + idle, self._total))
            except UpstreamFailed as failed:
                return self._give_up(failed.failure)
            if events := self._read(data):
                return events

    @property
    def _all_ended(self) -> bool:
        """Every choice that was asked for has told why it ended; one that has not begun may be yet to come."""
        return len(self._ended_choices) >= self._choices and self._open_choices <= self._ended_choices

    def _give_up(self, failure: ProviderFailure) -> list[Event]:
        """An answer whose choices have all ended is complete, however its connection ended."""
        if self._all_ended:
            self.done = True
            return [Done()]
        raise UpstreamFailed(failure)

    def _read(self, data: bytes) -> list[Event]:
        """Events of the next bytes (b"" is the end); notes what the record and the end need to know."""
        events: list[Event] = []
        for event in self._reader.feed(data) if data else self._reader.end():
            if isinstance(event, Failed):
                self._failure = event.failure
                break
            if isinstance(event, Warned) and event.code == UNREADABLE and self.may_leave():
                self._failure = ProviderFailure(kind="unreadable", message=event.message, status=self._upstream.status)
                break
            events.append(event)
            if isinstance(event, Delta):
                self._open_choices.add(event.index)
                if event.finish_reason is not None:
                    self._ended_choices.add(event.index)
            elif isinstance(event, UpstreamId):
                self.record.upstream_id = event.id
            elif isinstance(event, Usage):
                self.record.tokens = event.tokens
            elif isinstance(event, Done):
                self.done = True
        return events

    def share(self) -> Share:
        """An empty share of the answer, for this attempt to fill."""
        record, asked = self.record, self.asked
        counts = self._adapter.counts_deltas
        return Share(record.model, record.provider, record.deployment, counts, asked.added, record.client_request_id)

    def ended(self, reason: str, billed: bool) -> None:
        """Writes down how it ended: `ok`, the failure's kind, or why it was stopped."""
        self.record.ended_ms = self._call.now_ms()
        self.record.reason = reason
        self.record.billed = billed
        self._call.attempts_changed()
        if self._span is not None:
            self._end_span(reason, billed)
        metrics.ATTEMPTS.labels(self.record.provider, reason).inc()
        seconds = (self.record.ended_ms - self.record.started_ms) / 1000
        metrics.ATTEMPT_SECONDS.labels(self.record.provider, reason).observe(seconds)

    def too_slow(self) -> None:
        """Its first token is late: whoever is faster may answer, and its health suffers once."""
        if self._has_health and not self._told_slow:
            self._told_slow = True
            late = ProviderFailure(kind="timeout", message="no first token in time")
            self._turns.failed(self.record.deployment, late, self.asked.probe)

    def failed(self, failure: ProviderFailure, billed: bool = False) -> None:
        """Writes a failure down and tells operators about those that only they can mend."""
        if self._has_health and not self._told_slow:
            self._turns.failed(self.record.deployment, failure, self.asked.probe)
        self.record.status = self.record.status or failure.status
        self.ended(failure.kind, billed)
        level = logging.ERROR if failure.kind == "credentials" else logging.WARNING
        log.log(
            level,
            "provider_refuses_our_account" if failure.kind == "credentials" else "attempt_failed",
            job=self._call.id,
            deployment=self.record.deployment,
            provider=self.record.provider,
            status=failure.status,
            kind=failure.kind,
        )

    def leave(self, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        """The answer is complete: its connection serves again, once the body's end has been read where that is due."""
        if self.done and not self._upstream.at_end:
            spawn(self._drain())
        else:
            self.close()

    async def _drain(self) -> None:
        try:
            await self._upstream.rest(self._loop.time() + DRAIN_S, MAX_ERROR_BYTES)
        except UpstreamFailed:
            pass  # the answer is complete; its connection is closed instead of kept
        finally:
            self.close()

    def close(self) -> None:
        """Closes the connection, whatever is still to come. Safe to repeat."""
        self._upstream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.done:
            self.close()
