"""From a job to its answer: attempts one after the other, their events to the client as they come."""

from __future__ import annotations

import asyncio
import dataclasses

import msgspec
from redis.exceptions import RedisError

from gateway.credit import running
from gateway.wire.event import Outcome, Tokens
from gateway.wire.frame import Final
from workers import estimate, faults
from workers.answer import Collector, StreamWriter, usage_object, whole
from workers.attempt import Attempt, limits_of
from workers.call import Call
from workers.metering import Bill
from workers.providers.base import Delta, Event, Extra, ProviderFailure, Usage, Warned, Whole
from workers.room import Room
from workers.routing.candidates import Candidate, candidates
from workers.routing.policy import Plan
from workers.transport import UpstreamFailed

EXTEND_AT = 0.75
"""An optimistic hold grows once this share of the granted output is used: the reply is here before the rest is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended. `final` None: nobody is told. `free`: nothing is charged, whatever was counted."""

    outcome: Outcome
    final: Final | None
    error: str | None = None
    finish_reason: str | None = None
    charge: Bill | None = None
    free: bool = False


async def answer(room: Room, call: Call) -> Ended:
    """The answer to a job, from whichever deployment gives it."""
    groups = candidates(call.job, room.models, room.deployments.current)
    if not groups:
        return Ended("failed", faults.no_deployment(call.job.asked), error="no_deployment", free=True)
    loop = asyncio.get_running_loop()
    plan = Plan(groups, room.balance, loop.time() + limits_of(groups[0][0], room.settings).total_s)
    step = plan.first()
    while True:
        if step.wait_s:
            await asyncio.sleep(step.wait_s)
        cap = cap_to_send(call, step.candidate)
        call.may_grow = cap is None
        attempt = Attempt(
            call,
            step.candidate,
            call.job.stream or step.candidate.model.quirks.stream_only,
            cap,
            limits_of(step.candidate, room.settings),
            room.http,
        )
        _serve_from(call, step.candidate)
        try:
            return await _deliver(room, call, attempt)
        except UpstreamFailed as failed:
            attempt.failed(failed.failure)
            if call.delivered:
                attempt.record.billed = True
                return _broken(failed.failure)
            following = plan.after(step.candidate, failed.failure, loop.time())
        except asyncio.CancelledError:
            attempt.ended(call.stop_reason or "stopped", billed=call.delivered > 0)
            raise
        if following is None:
            failure = plan.telling()
            return Ended("failed", faults.provider_final(failure), error=_code(failure), free=True)
        step = following


def _serve_from(call: Call, candidate: Candidate) -> None:
    call.model = candidate.model.id
    call.provider = candidate.deployment.provider
    call.deployment = candidate.deployment.id
    call.counts_deltas = candidate.adapter.counts_deltas
    call.usage, call.estimated = None, False
    call.warnings.clear()


def _code(failure: ProviderFailure) -> str:
    return "provider_unavailable" if failure.status < 400 or failure.kind == "credentials" else failure.kind


def _broken(failure: ProviderFailure) -> Ended:
    return Ended("failed", faults.broken_stream(failure), error="stream_interrupted")


def wanted_cap(call: Call) -> int | None:
    """The output limit per choice that the client gave, or None."""
    for name in ("max_completion_tokens", "max_tokens"):
        raw = call.fields.get(name)
        if raw is not None and bytes(raw).isdigit():
            return int(bytes(raw))
    return None


def choices_wanted(call: Call) -> int:
    """How many choices the client asked for."""
    raw = call.fields.get("n")
    return max(1, int(bytes(raw))) if raw is not None and bytes(raw).isdigit() else 1


def cap_to_send(call: Call, candidate: Candidate) -> int | None:
    """The output limit per choice to send: always under a strict hold, and where the grant is below the wish.

    The grant is for all choices together. Without a limit of the client's, an optimistic hold grows with the answer.
    """
    n = choices_wanted(call)
    asked = wanted_cap(call)
    granted = max(1, call.cap // n)
    if call.job.policy == "strict":
        return granted if asked is None else min(asked, granted)
    if asked is not None:
        return min(asked, granted)
    return granted if granted < candidate.model.default_output_cap else None


async def _deliver(room: Room, call: Call, attempt: Attempt) -> Ended:
    async with attempt:
        events = await attempt.start(room.leases)
        if call.job.stream:
            ended = await _stream(room, call, attempt, events)
        else:
            ended = await _collect(call, attempt, events)
    attempt.ended("ok", billed=True)
    if attempt.done:
        room.spawn(attempt.drain())
    return ended


async def _stream(room: Room, call: Call, attempt: Attempt, events: list[Event]) -> Ended:
    writer = StreamWriter(call.public_id, call.created, call.job.asked, call.job.include_usage)
    while True:
        text = _write(call, writer, events)
        if attempt.done:
            return _stream_end(call, writer, text, None)
        if text:
            room.publisher.chunk(call.reply, call.id, call.epoch, call.seq, text)
            call.seq += 1
        if _over_grant(room, call):
            call.warnings.append(Warned("credit_limit_exceeded", "The answer ends here: no credit is left for more."))
            return _stream_end(call, writer, b"", "length")
        events = await attempt.more()


def _write(call: Call, writer: StreamWriter, events: list[Event]) -> bytes:
    parts: list[bytes] = []
    for event in events:
        if isinstance(event, Delta):
            call.sent(event)
            parts.append(writer.delta(event))
        elif isinstance(event, Usage):
            call.usage = event.tokens
        elif isinstance(event, Extra):
            writer.extra(event.fields)
        elif isinstance(event, Warned):
            call.warnings.append(event)
    return b"".join(parts)


def _stream_end(call: Call, writer: StreamWriter, text: bytes, finish: str | None) -> Ended:
    if call.usage is None:
        call.usage, call.estimated = _estimated(call), True
    charge = call.bill(call.usage)
    tail = text + writer.tail(usage_object(call.usage, charge), call.warnings, finish)
    final = Final(200, tail, "text/event-stream", headers=_headers(call), charged=charge.micro > 0)
    return Ended("complete", final, finish_reason=finish or writer.finish_reason(), charge=charge)


def _estimated(call: Call) -> Tokens:
    return Tokens(prompt=call.input_estimate(), completion=call.output_estimate())


def _headers(call: Call) -> dict[str, str]:
    return {"x-wonrouter-attempts": str(call.own_attempts)}


async def _collect(call: Call, attempt: Attempt, events: list[Event]) -> Ended:
    """One whole answer, as it came or collected from a stream."""
    collector = Collector()
    fields: dict[str, object] = {}
    while True:
        for event in events:
            if isinstance(event, Whole):
                fields.update(event.fields)
            elif isinstance(event, Delta):
                collector.delta(event)
            elif isinstance(event, Usage):
                call.usage = event.tokens
            elif isinstance(event, Extra):
                fields.update(event.fields)
            elif isinstance(event, Warned):
                call.warnings.append(event)
        if attempt.done:
            break
        events = await attempt.more()
    if "choices" not in fields:
        fields.update(collector.fields())
    choices = fields["choices"]
    raw = bytes(choices) if isinstance(choices, msgspec.Raw) else msgspec.json.encode(choices)
    if call.usage is None:
        call.usage = Tokens(prompt=call.input_estimate(), completion=estimate.of_choices(raw))
        call.estimated = True
    call.first_ms = call.since_admission_ms()
    charge = call.bill(call.usage)
    body = whole(fields, call.public_id, call.created, call.job.asked, usage_object(call.usage, charge), call.warnings)
    final = Final(200, body, headers=_headers(call), charged=charge.micro > 0)
    return Ended("complete", final, finish_reason=_first_finish(raw), charge=charge)


class _FinishOnly(msgspec.Struct):
    finish_reason: str | None = None


_finishes = msgspec.json.Decoder(list[_FinishOnly])


def _first_finish(choices: bytes) -> str | None:
    try:
        found = _finishes.decode(choices)
    except msgspec.DecodeError:
        return None
    return found[0].finish_reason if found else None


def _over_grant(room: Room, call: Call) -> bool:
    """Grows an optimistic hold in time; True where no more is granted and the grant is used up."""
    if not call.may_grow:
        return False
    used = call.output_estimate()
    if used >= EXTEND_AT * call.cap and not call.extending and not call.refused:
        call.extending = True
        room.spawn(_extend(room, call))
    return call.refused and used >= call.cap


async def _extend(room: Room, call: Call) -> None:
    model = room.models.get(call.model)
    step = model.default_output_cap if model is not None else call.cap
    try:
        cap = await running.extend(room.redis, call.id, call.epoch, max(1, step))
    except (RedisError, OSError):
        cap = call.cap  # Redis is away: asked again with the next piece
    call.extending = False
    if cap is None:
        call.refused = True
    else:
        call.cap = cap
