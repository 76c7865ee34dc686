"""A streamed answer, from its first token to its end, through as many deployments as it takes."""

from __future__ import annotations

import asyncio

from gateway.wire.event import Tokens
from gateway.wire.frame import Final
from workers import faults
from workers.answer import FLEX, StreamWriter, shown_model, usage_object
from workers.attempt import Asked
from workers.call import Call
from workers.caps import cap_to_send, over_grant
from workers.continuation import REPEAT_ROOM, Delivered, Splice, continued, spliced, takes_prefill
from workers.ended import Ended
from workers.opening import Opening, Spoken
from workers.providers.base import Delta, Event, Extra, ProviderFailure, Usage, Warned
from workers.room import Room
from workers.routing.candidates import Candidate
from workers.routing.policy import Plan
from workers.share import Share
from workers.transport import UpstreamFailed

CREDIT_ENDED = Warned("credit_limit_exceeded", "The answer ends here: no credit is left for more.")


async def stream(room: Room, call: Call, plan: Plan, spoken: Spoken) -> Ended:
    """Delivers what `spoken` says, and has others go on where it breaks off."""
    return await _Stream(room, call, plan, spoken.attempt.record.model).run(spoken)


class _Stream:
    def __init__(self, room: Room, call: Call, plan: Plan, model: str) -> None:
        self._room = room
        self._call = call
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        shown = shown_model(call.job, model)
        self._writer = StreamWriter(call.public_id, call.created, shown, call.job.include_usage)
        if call.job.background:
            self._writer.extra(FLEX)
        self._delivered = Delivered(call.fields)
        self._splice: Splice | None = None
        self._plain: set[str] = set()
        """Deployments that refused a prefill."""

    async def run(self, spoken: Spoken) -> Ended:
        """To the end, or to an explicit error."""
        while True:
            attempt = spoken.attempt
            self._call.shares.append(attempt.share())
            attempt.may_leave = self._may_leave
            try:
                async with attempt:
                    ended = await self._relay(spoken)
                attempt.leave(self._room.spawn)
                return ended
            except asyncio.CancelledError:
                attempt.ended(self._call.stop_reason or "stopped", billed=self._call.delivered > 0)
                raise
            except UpstreamFailed as failed:
                failure = failed.failure
                self._call.broke(attempt.record, self._call.shares[-1])
                attempt.failed(failure, billed=self._call.shares[-1].deltas > 0)
            following = await self._go_on(attempt.asked.candidate, failure)
            if following is None:
                return Ended("failed", faults.broken_stream(failure), error="stream_interrupted")
            if isinstance(following, Ended):
                return following
            spoken = following

    def _may_leave(self) -> bool:
        return self._delivered.continuable and self._plan.other(self._loop.time()) is not None

    async def _relay(self, spoken: Spoken) -> Ended:
        call, attempt, events = self._call, spoken.attempt, spoken.events
        while True:
            text = self._write(events)
            if attempt.done:
                text += self._held_back()
                self._count_whole(call.shares[-1])
                attempt.ended("ok", billed=True)
                return self._end(text, None)
            if text:
                self._room.publisher.chunk(call.reply, call.id, call.epoch, call.seq, text)
                call.seq += 1
            if over_grant(self._room, call):
                call.warnings.append(CREDIT_ENDED)
                attempt.ended("ok", billed=True)
                return self._end(b"", "length")
            if self._splice is not None and not attempt.asked.prefilled and self._rest() == 0:
                attempt.ended("ok", billed=True)
                return self._end(b"", "length")
            events = await attempt.more()

    def _count_whole(self, share: Share) -> None:
        share.whole = True
        if share.usage is None and not share.added:
            share.usage = Tokens(prompt=self._call.input_estimate(), completion=share.counted())
            share.estimated = True

    def _write(self, events: list[Event]) -> bytes:
        call, parts = self._call, list[bytes]()
        for event in events:
            if isinstance(event, Delta):
                parts.append(self._delta(event))
            elif isinstance(event, Usage):
                call.shares[-1].usage = event.tokens
            elif isinstance(event, Extra):
                masking = call.masking
                fields = event.fields if masking is None else masking.extra(event.fields)
                self._writer.extra({**fields, **FLEX} if call.job.background else fields)
            elif isinstance(event, Warned) and event not in call.warnings:
                call.warnings.append(event)
        return b"".join(parts)

    def _delta(self, event: Delta) -> bytes:
        share = self._call.shares[-1]
        if self._splice is not None and event.index == 0:
            came = event
            joined = spliced(self._splice, event, self._delivered.has_text)
            trimmed, self._splice.trimmed = self._splice.trimmed, ""
            share.dropped += len(trimmed.encode()) + _hidden(came, joined)
            if joined is None:
                return b""
            event = joined
        if self._call.masking is None:
            self._call.sent(event)
            return self._deliver(event)
        shown, gone = self._call.masking.delta(event)
        for counted in gone:
            self._call.sent(counted)
        return b"" if shown is None else self._deliver(shown)

    def _deliver(self, event: Delta) -> bytes:
        self._delivered.add(event.delta)
        return self._writer.delta(event)

    def _held_back(self) -> bytes:
        """The answer ends: what the masking held back goes out."""
        if self._call.masking is None:
            return b""
        rest, gone = self._call.masking.rest()
        for counted in gone:
            self._call.sent(counted)
        return b"".join(map(self._deliver, rest))

    async def _go_on(self, candidate: Candidate, failure: ProviderFailure) -> Spoken | Ended | None:
        """Somebody who goes on, the end where nothing is left to say, or None: the answer stays broken."""
        if self._call.masking is not None:
            self._call.masking.cut()
        step = self._plan.broke(candidate, failure, self._loop.time()) if self._delivered.continuable else None
        if step is None:
            return None
        if self._rest() == 0:
            return self._end(b"", "length")
        text = self._delivered.text
        try:
            spoken = await Opening(self._room, self._call, self._plan, self._ask, self._refused).run(step)
        except UpstreamFailed:
            return None
        self._splice = Splice(text, spoken.attempt.asked.prefilled)
        self._call.may_grow = spoken.attempt.asked.cap is None
        return spoken

    def _ask(self, candidate: Candidate, probe: bool) -> Asked:
        call, text = self._call, self._delivered.text
        rest, cap = self._rest(), cap_to_send(call, candidate)
        prefill = takes_prefill(candidate.model) and candidate.deployment.id not in self._plain
        prefill = prefill and bool(text.strip())
        if cap is not None and rest is not None:
            cap = min(rest if prefill or not text else rest + REPEAT_ROOM, candidate.model.max_output_tokens)
        if not text:
            return Asked(candidate, call.fields, True, cap, probe)
        fields, added = continued(call.fields, text, candidate.model, prefill)
        return Asked(candidate, fields, True, cap, probe, added, prefill)

    def _refused(self, asked: Asked, failure: ProviderFailure) -> bool:
        """A prefill that a model does not take after all: it is asked in words."""
        if not asked.prefilled or failure.kind != "bad_request":
            return False
        self._plain.add(asked.candidate.deployment.id)
        return True

    def _rest(self) -> int | None:
        """Output tokens that may still come; None: no limit was sent."""
        call = self._call
        cap = cap_to_send(call, self._plan.first_candidate)
        return None if cap is None else max(0, cap - call.output_estimate())

    def _end(self, text: bytes, finish: str | None) -> Ended:
        call = self._call
        text += self._held_back()
        tokens, _ = call.used()
        charge = call.bill(tokens)
        warnings, masked = call.told(), call.masked()
        tail = self._writer.tail(usage_object(tokens, charge), warnings, call.attempts, finish)
        final = Final(200, text + tail, "text/event-stream", charged=charge.micro > 0, masked=masked)
        return Ended("complete", final, finish_reason=finish or self._writer.finish_reason(), charge=charge)


def _hidden(came: Delta, joined: Delta | None) -> int:
    """Bytes of reasoning that were left out."""
    names = ("reasoning_content", "reasoning")
    shown = joined.delta if joined is not None else {}
    return sum(len(str(came.delta.get(name) or "").encode()) for name in names if name not in shown)
