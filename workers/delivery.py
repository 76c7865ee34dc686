"""From a job to its answer: who speaks, what of it goes to the client, who goes on where it breaks off."""

from __future__ import annotations

import asyncio

import msgspec

from gateway.guardrails.body import OFF_LOOP_BYTES
from gateway.wire.event import Tokens
from gateway.wire.frame import Final
from workers import estimate, faults
from workers.answer import FLEX, Collector, attempts_header, shown_model, usage_object, whole
from workers.attempt import Asked, Attempt, limits_of
from workers.call import Call
from workers.caps import cap_to_send
from workers.ended import Ended
from workers.masking import AnswerMasking
from workers.opening import Opening, Spoken
from workers.providers.base import Delta, Event, Extra, ProviderFailure, Usage, Warned, Whole
from workers.room import Room
from workers.routing.candidates import Candidate, candidates
from workers.routing.policy import Limits, Others, Plan, Step
from workers.streaming import stream
from workers.transport import UpstreamFailed


async def answer(room: Room, call: Call) -> Ended:
    """The answer to a job, from whichever deployment gives it."""
    groups = candidates(call.job, room.models, room.deployments.current)
    if not groups:
        return Ended("failed", faults.no_deployment(call.job.asked), error="no_deployment", free=True)
    budget = room.settings.request_budget_s or 2 * max(limits_of(c, room.settings).total_s for c in groups[0])
    plan = Plan(groups, Limits.of(room.settings), asyncio.get_running_loop().time() + budget)
    try:
        if call.job.stream:
            return await stream(room, call, plan, await open_answer(room, call, plan, Others(plan.untried())))
        return await _collected(room, call, plan)
    except UpstreamFailed as failed:
        final = faults.provider_final(failed.failure)
        final.headers["x-wonrouter-attempts"] = attempts_header(call.attempts)
        return Ended("failed", final, error=_code(failed.failure), free=True)


async def open_answer(room: Room, call: Call, plan: Plan, step: Step) -> Spoken:
    """The first deployment to speak, asked what the client asked. Raises `UpstreamFailed` where none does."""

    def ask(candidate: Candidate, probe: bool) -> Asked:
        streamed = call.job.stream or candidate.model.quirks.stream_only
        return Asked(candidate, call.fields, streamed, cap_to_send(call, candidate), probe)

    spoken = await Opening(room, call, plan, ask).run(step)
    call.may_grow = spoken.attempt.asked.cap is None
    return spoken


async def _collected(room: Room, call: Call, plan: Plan) -> Ended:
    """A whole answer. What breaks off half-way is asked for again: nobody has seen anything of it."""
    step: Step | None = Others(plan.untried())
    loop = asyncio.get_running_loop()
    while step is not None:
        spoken = await open_answer(room, call, plan, step)
        attempt = spoken.attempt
        call.shares = [attempt.share()]
        call.warnings.clear()
        attempt.may_leave = lambda: plan.other(loop.time()) is not None
        try:
            async with attempt:
                ended = await _collect(call, attempt, spoken.events)
        except UpstreamFailed as failed:
            attempt.failed(failed.failure)
            call.shares.clear()
            step = plan.after(attempt.asked.candidate, failed.failure, loop.time())
        except asyncio.CancelledError:
            attempt.ended(call.stop_reason or "stopped", billed=False)
            raise
        else:
            attempt.leave(room.spawn)
            return ended
    raise UpstreamFailed(plan.telling())


def _code(failure: ProviderFailure) -> str:
    return "provider_unavailable" if failure.status < 400 or failure.kind == "credentials" else failure.kind


async def _collect(call: Call, attempt: Attempt, events: list[Event]) -> Ended:
    """One whole answer, as it came or collected from a stream."""
    collector = Collector()
    fields: dict[str, object] = {}
    share = call.shares[-1]
    while True:
        for event in events:
            if isinstance(event, Whole):
                fields.update(event.fields)
            elif isinstance(event, Delta):
                collector.delta(event)
            elif isinstance(event, Usage):
                share.usage = event.tokens
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
    if share.usage is None:
        share.usage = Tokens(prompt=call.input_estimate(), completion=estimate.of_choices(raw))
        share.estimated = True
    share.whole = True
    attempt.ended("ok", billed=True)
    call.first_ms = call.since_admission_ms()
    tokens, _ = call.used()
    charge = call.bill(tokens)
    usage = usage_object(tokens, charge)
    fields = await _told(call, fields, raw)
    body = whole(fields, call.public_id, call.created, shown_model(call.job, share.model), usage, call.told())
    headers = {"x-wonrouter-attempts": attempts_header(call.attempts)}
    final = Final(200, body, headers=headers, charged=charge.micro > 0, masked=call.masked())
    return Ended("complete", final, finish_reason=_first_finish(raw), charge=charge)


async def _told(call: Call, fields: dict[str, object], choices: bytes) -> dict[str, object]:
    """What of an answer's fields the client is told."""
    if call.masking is not None:
        fields = await _masked(call.masking, fields, choices)
    return {**fields, **FLEX} if call.job.background else fields


async def _masked(masking: AnswerMasking, fields: dict[str, object], choices: bytes) -> dict[str, object]:
    """The answer's fields, masked. A long one is masked in a thread: other calls go on meanwhile."""

    def work() -> dict[str, object]:
        opened = {name: _opened(value) for name, value in fields.items() if name != "choices"}
        return {**masking.extra(opened), "choices": masking.whole(msgspec.json.decode(choices))}

    return await asyncio.to_thread(work) if len(choices) > OFF_LOOP_BYTES else work()


def _opened(value: object) -> object:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


class _FinishOnly(msgspec.Struct):
    finish_reason: str | None = None


_finishes = msgspec.json.Decoder(list[_FinishOnly])


def _first_finish(choices: bytes) -> str | None:
    try:
        found = _finishes.decode(choices)
    except msgspec.DecodeError:
        return None
    return found[0].finish_reason if found else None
