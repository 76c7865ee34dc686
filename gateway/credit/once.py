"""One paid call for one Idempotency-Key: claimed before it begins, kept when it has ended.

``place`` puts a job under a claim only while the claim is its caller's, and the end of a job notes its charge in the
claim's record in the same step. So whatever dies when, nobody is charged twice for one key: a call whose front end
died is either still running, or was charged nothing and may run again, or was charged and is not run again.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from gateway.credit import scripts
from gateway.credit.admission import Once
from gateway.credit.scripts import AsyncExecutor
from gateway.wire import keys

KEPT_S = 86_400
"""For a day: longer than any client's retries, short enough that answers do not pile up."""


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What the key stands for already.

    ``kept``: ``answer`` is the first one, sealed. ``busy``: it is under way; ask again in ``wait_ms``. ``mismatch``:
    it came with another request. ``lost``: it was charged, and its answer did not survive. ``unkept``: its answer was
    too large to keep. ``full``: too many keys of this organisation are remembered.
    """

    state: Literal["kept", "busy", "mismatch", "lost", "unkept", "full"]
    answer: bytes = b""
    wait_ms: int = 0


async def claim(
    redis: AsyncExecutor, once: Once, org: str, fingerprint: str, *, lease_ms: int, most: int
) -> Found | None:
    """Claims the key for this caller, or says what it stands for. None: it is the caller's.

    ``once.token`` is the caller's own; ``most`` keys of one organisation are remembered. Raises ``redis.RedisError``.
    """
    answer: list[Any] = await scripts.ONCE_CLAIM.run(
        redis, [once.record, keys.once_of(org)], [fingerprint, once.token, lease_ms, KEPT_S, most]
    )
    state = answer[0].decode()
    if state == "mine":
        return None
    if state == "kept":
        return Found("kept", answer=answer[1])
    return Found(state, wait_ms=int(answer[1]) if len(answer) > 1 else 0)


async def renew(redis: AsyncExecutor, once: Once, lease_ms: int) -> bool:
    """Says that the caller still works on it. False where the claim is another's by now."""
    return bool(await scripts.ONCE_RENEW.run(redis, [once.record], [once.token, lease_ms]))


async def keep(
    redis: AsyncExecutor, once: Once, org: str, sealed: bytes, most_bytes: int
) -> Literal["kept", "unkept", "stale"]:
    """Keeps the first answer (empty: it is too large), where the organisation has room for it."""
    names = [once.record, keys.once_bytes(org)]
    return (await scripts.ONCE_KEEP.run(redis, names, [once.token, sealed, most_bytes, KEPT_S])).decode()


async def release(redis: AsyncExecutor, once: Once, org: str) -> Literal["released", "charged", "running", "stale"]:
    """The call failed: the key may be used again, unless it was charged or a job of it still runs."""
    return (await scripts.ONCE_RELEASE.run(redis, [once.record, keys.once_of(org)], [once.token])).decode()
