"""One claimed job while a worker runs it: what was asked, what has been delivered, what it costs so far."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gateway.credit.running import Claim, Heartbeat
from gateway.wire import ids
from gateway.wire.event import (
    Attempt,
    Outcome,
    Tokens,
    UsageEvent,
    decode_attempts,
    decode_event,
    encode_attempts,
    encode_event,
)
from gateway.wire.job import Job
from workers import estimate
from workers.masking import masking_of
from workers.metering import NOTHING, Bill, bill, split
from workers.providers.base import Delta, Warned
from workers.share import Share, each, used, uses

Stop = Literal["cancelled", "disowned", "lost", "shutdown", "nobody"]
"""Why a call is stopped before its end: asked by the client's side, admitted without its client's knowledge, taken by
another worker, this process ends, nobody listens to its frames."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Call:
    """A claimed job. Only the worker's loop touches it."""

    __slots__ = (
        "_attempts_known", "_checked", "_input_tokens", "attempts", "base", "cap", "choices", "claim", "claimed_at", "created",
        "delivered", "ending", "epoch", "extending", "fields", "first_ms", "hold_micro", "id", "job", "masking", "may_grow",
        "own_attempts", "public_id", "refused", "reply", "seq", "shares", "span", "stop_reason", "task", "warnings",
    )  # fmt: skip  # one block of names

    def __init__(self, claim: Claim, job: Job) -> None:
        self.claim = claim
        self.job = job
        self.id = claim.job
        self.epoch = claim.epoch
        self.reply = claim.reply
        self.base: UsageEvent = decode_event(claim.base_event)
        self.public_id = ids.public(claim.job)
        self.created = ids.milliseconds(claim.job) // 1000
        self.fields: Mapping[str, msgspec.Raw] = _fields(job.body)
        self.choices = _choices(self.fields.get("n"))
        """How many the client asked for."""
        self.cap = claim.cap
        self.hold_micro = claim.hold_micro
        self.attempts = earlier_attempts(claim, job)
        self.own_attempts = 0
        self.shares: list[Share] = []
        """Who has put what into the answer, in order."""
        self.delivered = 0
        """Content-bearing deltas that went out."""
        self.masking = masking_of(job, self.fields)
        """Masks the answer; None where that is not wanted."""
        self.warnings: list[Warned] = []
        self.first_ms: int | None = None
        self.seq = 0
        self.span: Any = None
        """The job's span where traces are made."""
        self.task: asyncio.Task[object] | None = None
        self.stop_reason: Stop | None = None
        self.ending = False
        self.may_grow = False
        """No output limit was sent: the hold grows with the answer."""
        self.extending = False
        self.refused = False
        self._input_tokens: int | None = None
        self._checked = -1
        self._attempts_known = True
        self.claimed_at = time.monotonic()

    def now_ms(self) -> int:
        """Milliseconds since 1970 by Redis's clock, as the claim told it."""
        return self.claim.now_ms + int((time.monotonic() - self.claimed_at) * 1000)

    def since_admission_ms(self) -> int:
        """Milliseconds since the job was admitted."""
        return max(0, self.now_ms() - ids.milliseconds(self.id))

    def stop(self, reason: Stop) -> None:
        """Ends the call's work where it stands; what was used is settled unless another worker has it now."""
        if self.stop_reason is None and not self.ending:
            self.stop_reason = reason
            if self.task is not None:
                self.task.cancel()

    def begin_attempt(self, attempt: Attempt) -> None:
        """Writes an attempt down before its request leaves."""
        self.attempts.append(attempt)
        self._attempts_known = False

    def attempts_changed(self) -> None:
        """Something of an attempt is known that Redis does not know yet."""
        self._attempts_known = False

    def next_attempt(self) -> tuple[int, str]:
        """Number and client request id of the next attempt of this epoch."""
        self.own_attempts += 1
        return self.own_attempts, f"{self.id}.{self.epoch}.{self.own_attempts}"

    def sent(self, event: Delta) -> None:
        """Counts one delta of the newest share that goes to the client."""
        if event.content:
            self.delivered += 1
            self.shares[-1].sent(event)
            if self.first_ms is None:
                self.first_ms = self.since_admission_ms()

    def told(self) -> list[Warned]:
        """Every warning for the client."""
        return self.warnings if self.masking is None else [*self.warnings, *self.masking.warnings()]

    def masked(self) -> dict[str, int]:
        """How many of each kind of personal data were masked in the answer."""
        return {} if self.masking is None else self.masking.found()

    def input_estimate(self) -> int:
        """Input tokens, where no provider said how many: never above what was used."""
        if self._input_tokens is None:
            messages = self.fields.get("messages")
            self._input_tokens = estimate.of_messages(bytes(messages)) if messages is not None else 0
        return self._input_tokens

    def output_estimate(self) -> int:
        """Output tokens delivered so far."""
        shares = self.shares
        return shares[0].counted() if len(shares) == 1 else sum(share.counted() for share in shares)

    def used(self) -> tuple[Tokens, bool]:
        """What has been used so far, and whether that is an estimate. Nothing delivered is nothing used."""
        if self.delivered == 0 and not any(share.whole and share.usage for share in self.shares):
            return Tokens(), False
        return used(self.shares, self.input_estimate, self.job.input_bound)

    def bill(self, tokens: Tokens) -> Bill:
        """The charge for `tokens` as the shares have them, within the hold where it is strict."""
        if not tokens.prompt and not tokens.completion:
            return NOTHING
        most = self.hold_micro if self.job.policy == "strict" else None
        charge = bill(uses(self.shares, tokens.prompt), self.job.terms, most)
        self._note_costs(charge, tokens.prompt)
        return charge

    def _note_costs(self, charge: Bill, prompt: int) -> None:
        """What of the charge falls on which attempt, on the attempts' records."""
        costs = zip(self.shares, split(charge, each(self.shares, prompt)), strict=True)
        by_request = {share.request_id: won for share, won in costs}
        for attempt in self.attempts:
            attempt.won = by_request.get(attempt.client_request_id, "0")

    def broke(self, attempt: Attempt, share: Share) -> None:
        """An attempt whose provider never said what it used: what we saw of it is our cost."""
        if attempt.tokens == Tokens():
            attempt.tokens = share.seen(self.input_estimate())

    def event(
        self,
        outcome: Outcome,
        tokens: Tokens,
        charge: Bill,
        *,
        estimated: bool,
        error: str | None = None,
        finish_reason: str | None = None,
    ) -> UsageEvent:
        """The job's usage event as things stand."""
        first = self.shares[0] if self.shares else None
        last = self.attempts[-1] if self.attempts else None
        return msgspec.structs.replace(
            self.base,
            job=self.id,
            model=first.model if first else self.job.models[0],
            provider=first.provider if first else last.provider if last else "",
            deployment=first.deployment if first else last.deployment if last else "",
            outcome=outcome,
            finish_reason=finish_reason,
            error=error,
            estimated=estimated,
            tokens=tokens,
            parts=charge.parts,
            won=charge.won,
            micro=charge.micro,
            loss_won=charge.loss_won,
            attempts=self.attempts,
            first_token_ms=self.first_ms,
            duration_ms=self.since_admission_ms(),
        )

    def heartbeat(self) -> Heartbeat:
        """The renewal of this job's lease, with a checkpoint where more has been delivered since the last."""
        attempts = b""
        if not self._attempts_known:
            attempts, self._attempts_known = encode_attempts(self.attempts), True
        if self.delivered in (0, self._checked):
            return Heartbeat(self.id, self.epoch, attempts=attempts)
        self._checked = self.delivered
        tokens, _ = self.used()
        charge = self.bill(tokens)
        event = self.event("expired", tokens, charge, estimated=True, error="worker_lost")
        event.attempts = [  # if this checkpoint is booked, it is for the attempt that speaks now
            a if a.reason else msgspec.structs.replace(a, billed=True, tokens=tokens, reason="worker_lost")
            for a in self.attempts
        ]
        return Heartbeat(self.id, self.epoch, encode_event(event), charge.micro, attempts)

    def heartbeat_lost(self) -> None:
        """The last renewal did not arrive: the next one says it all again."""
        self._checked = -1
        self._attempts_known = False


def _choices(asked: msgspec.Raw | None) -> int:
    raw = b"" if asked is None else bytes(asked)
    return max(1, int(raw)) if raw.isdigit() else 1


def earlier_attempts(claim: Claim, job: Job) -> list[Attempt]:
    """Attempts of workers that lost this job; an epoch that left no record gets one, so that no call is unlisted."""
    known = decode_attempts(claim.attempts)
    for attempt in known:
        attempt.reason = attempt.reason or "worker_lost"
        attempt.billed = False
    told = {attempt.epoch for attempt in known}
    for epoch in range(1, claim.epoch):
        if epoch not in told:
            request_id = f"{claim.job}.{epoch}.1"
            known.append(Attempt(1, epoch, job.models[0], "", "", request_id, 0, reason="worker_lost"))
    return sorted(known, key=lambda attempt: (attempt.epoch, attempt.n))
