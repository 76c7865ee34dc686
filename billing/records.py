"""From an entry of the usage stream to the usage row that it becomes, or the reason why it cannot become one."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from gateway.money import EXACT, exact, micro_ceil, quantize_exact
from gateway.wire import ids
from gateway.wire.event import Attempt, Part, UsageEvent, decode_attempts, decode_event

_NOTHING = Decimal(0)


class PoisonError(ValueError):
    """The entry cannot be booked as it is; the text says why. It waits in ``wr:dead`` for a person."""


class Record(msgspec.Struct):
    """One job's usage, checked and ready to be booked.

    ``entry`` is its id in the stream, ``held`` whether the window took ``micro`` when the job ended.
    """

    entry: bytes
    month: str
    job: str
    org: str
    key: str
    held: bool
    micro: int
    won: Decimal
    loss_won: Decimal
    event: UsageEvent
    prepaid: bool = True


def read(entry: bytes, fields: Mapping[bytes, bytes]) -> Record:
    """The record in a stream entry. Raises ``PoisonError``.

    The stream's own fields come from the script that ended the job, so they overrule the event: it may be a
    checkpoint of a worker that died (``expired``) or one of a job that ended without a charge (``voided``).
    """
    try:
        event = decode_event(fields[b"ev"])
        ended = fields[b"out"].decode()
        micro = int(fields[b"micro"])
        job = fields[b"job"].decode()
        event.attempts = _merged(event.attempts, decode_attempts(fields.get(b"att", b"")))
        if ended != "posted":
            _list_lost_epochs(event, job, int(fields.get(b"ep", b"0")))
        org, key = (str(uuid.UUID(fields[name].decode())) for name in (b"org", b"key"))
        version = uuid.UUID(job).version
        month = ids.month_of(ids.milliseconds(job))
    except KeyError as missing:
        raise PoisonError(f"the entry has no field {missing}") from missing
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise PoisonError(f"undecodable: {error}") from error
    if version != 7 or len(job) != 32:
        raise PoisonError("the job id carries no time")
    # The base event is written before the script has made the job's id.
    event.job = event.job or job
    if event.job != job or event.org != fields[b"org"].decode() or event.key != fields[b"key"].decode():
        raise PoisonError("the event speaks of another job, organisation or key than the stream")
    match ended:
        case "posted":
            pass
        case "expired":
            event.outcome, event.estimated = "expired", True
        case "voided":
            event.won, event.loss_won, event.parts = "0", "0", []
            for attempt in event.attempts:
                attempt.billed = False
        case _:
            raise PoisonError(f"unknown way to end: {ended}")
    if any(quantity < 0 for quantity in msgspec.structs.astuple(event.tokens)):
        raise PoisonError("negative tokens")
    won, loss = rated(event)
    if micro != micro_ceil(won):
        raise PoisonError(f"the window was charged {micro} micro-won for {won} won")
    return Record(
        entry=entry,
        month=month,
        job=job,
        org=org,
        key=key,
        held=fields.get(b"hold") == b"1",
        micro=micro,
        won=won,
        loss_won=loss,
        event=event,
    )


def part_won(part: Part) -> Decimal:
    """The exact charge of one part (won), worked out again from its tokens, prices and rate. Raises ValueError."""
    if part.prompt < 0 or part.completion < 0:
        raise ValueError("negative tokens")
    usd_micro = EXACT.add(
        EXACT.multiply(exact(part.input_usd), Decimal(part.prompt)),
        EXACT.multiply(exact(part.output_usd), Decimal(part.completion)),
    )
    return quantize_exact(EXACT.multiply(usd_micro, exact(part.rate)).scaleb(-6, EXACT))


def rated(event: UsageEvent) -> tuple[Decimal, Decimal]:
    """Charge and loss of an event (won). Raises ``PoisonError`` where the charge is not what its parts come to.

    The loss stands beside them: parts list what is charged, and what passed a strict hold is not.
    """
    try:
        won, loss = quantize_exact(exact(event.won)), quantize_exact(exact(event.loss_won))
        parts = [(part, exact(part.won), part_won(part)) for part in event.parts]
    except (ValueError, ArithmeticError) as error:
        raise PoisonError(f"not rateable: {error or type(error).__name__}") from error
    total = _NOTHING
    for part, says, due in parts:
        if says != due:
            raise PoisonError(f"a part of {part.model} says {says} won and rates to {due}")
        total = EXACT.add(total, due)
    if won < 0 or loss < 0:
        raise PoisonError("a charge below zero")
    if total != won:
        raise PoisonError(f"the charge says {won} won and its parts come to {total}")
    return won, loss


def _list_lost_epochs(event: UsageEvent, job: str, epochs: int) -> None:
    """An attempt for each claim of the job that left no record: its worker died before it could write one down, but
    perhaps after its call had left. The request id that the worker would have sent finds it in the provider's books."""
    told = {attempt.epoch for attempt in event.attempts}
    for epoch in range(1, epochs + 1):
        if epoch not in told:
            request_id = f"{job}.{epoch}.1"
            lost = Attempt(1, epoch, event.model or event.asked, "", "", request_id, started_ms=0, reason="worker_lost")
            event.attempts.append(lost)
    event.attempts.sort(key=lambda attempt: (attempt.epoch, attempt.n))


def _merged(attempts: list[Attempt], known: list[Attempt]) -> list[Attempt]:
    """The event's attempts, and those that only the job's hash knew: calls of workers that died are our cost."""
    if not known:
        return attempts
    seen = {attempt.client_request_id for attempt in attempts}
    for attempt in known:
        if attempt.client_request_id not in seen:
            seen.add(attempt.client_request_id)
            attempt.billed = False
            attempts.append(attempt)
    attempts.sort(key=lambda attempt: (attempt.epoch, attempt.n))
    return attempts
