"""How much output a call may have: what is sent upstream, and how an optimistic hold grows with its answer."""

from __future__ import annotations

from redis.exceptions import RedisError

from gateway.credit import running
from workers.call import Call
from workers.room import Room
from workers.routing.candidates import Candidate

EXTEND_AT = 0.75
"""An optimistic hold grows once this share of the granted output is used: the reply is here before the rest is."""


def wanted_cap(call: Call) -> int | None:
    """The output limit per choice that the client gave, or None."""
    for name in ("max_completion_tokens", "max_tokens"):
        raw = call.fields.get(name)
        if raw is not None and bytes(raw).isdigit():
            return int(bytes(raw))
    return None


def cap_to_send(call: Call, candidate: Candidate) -> int | None:
    """The output limit per choice to send: always under a strict hold, and where the grant is below the wish.

    Without a limit of the client's, an optimistic hold grows with the answer instead.
    """
    asked, granted, most = wanted_cap(call), max(1, call.cap), candidate.model.max_output_tokens
    if asked is not None:
        return min(asked, granted, most)
    if call.job.policy == "strict" or granted < candidate.model.default_output_cap:
        return min(granted, most)
    return None


def over_grant(room: Room, call: Call) -> bool:
    """Grows an optimistic hold in time; True where no more is granted and the grant is used up."""
    if not call.may_grow:
        return False
    used = call.output_estimate() / call.choices
    if used >= EXTEND_AT * call.cap and not call.extending and not call.refused:
        call.extending = True
        room.spawn(_extend(room, call))
    return call.refused and used >= call.cap


async def _extend(room: Room, call: Call) -> None:
    model = room.models.get(call.shares[-1].model)
    step = model.default_output_cap if model is not None else call.cap
    try:
        cap = await running.extend(room.redis, call.id, call.epoch, max(1, step))
    except (RedisError, OSError, running.HoldUnknown):
        # Redis is away, or its window is being rebuilt: asked again with the next piece. A job that is lost is stopped
        # by its lease.
        cap = call.cap
    call.extending = False
    if cap is None:
        call.refused = True
    else:
        call.cap = cap
