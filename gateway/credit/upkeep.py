"""The billing worker's side of the window: expiry, the outbox, the rebuild. Blocking client; also the command line's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from gateway.credit import scripts
from gateway.credit.scripts import SyncExecutor
from gateway.wire import keys


def sweep(redis: SyncExecutor, grace_ms: int, most: int = 200) -> list[str]:
    """Ends jobs whose worker is gone (checkpoint charged, or voided). Returns their ids."""
    return [job.decode() for job in scripts.SWEEP.run_sync(redis, [], [grace_ms, most])]


def recount(redis: SyncExecutor) -> int:
    """Counts the long bodies of open jobs anew. Returns how many bytes they are."""
    return int(scripts.RECOUNT.run_sync(redis, [], []))


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One row of PostgreSQL's outbox, numbered per organisation without gaps. Money in micro-won."""

    org: str
    seq: int
    balance_micro: int = 0
    org_version: int | None = None
    key: str | None = None
    key_version: int | None = None
    key_spent_micro: int = 0
    month: str | None = None
    month_spent_micro: int = 0
    news: bytes = b""


def apply(redis: SyncExecutor, change: Change, window_epoch: str) -> Literal["applied", "known", "gap", "rebuilding"]:
    """Applies one change once, in order."""
    args: list[scripts.Arg] = [
        change.org,
        change.seq,
        change.balance_micro,
        "" if change.org_version is None else change.org_version,
        change.key or "",
        "" if change.key_version is None else change.key_version,
        change.key_spent_micro,
        change.month or "",
        change.month_spent_micro,
        window_epoch,
        change.news,
    ]
    return scripts.APPLY.run_sync(redis, [], args).decode()


@dataclasses.dataclass(frozen=True, slots=True)
class OrgWindow:
    """What PostgreSQL says an organisation's window is, without holds. Money in micro-won."""

    org: str
    version: int
    balance_micro: int
    seq: int
    months: Sequence[tuple[str, int]]
    keys: Sequence[tuple[str, int, int]]
    """(key, version, spent micro-won)"""


def identity(redis: SyncExecutor) -> tuple[str | None, str]:
    """The epoch of the window that this Redis holds, and the id of the server process, another one after each start."""
    epoch, run_id = scripts.IDENTITY.run_sync(redis, [keys.EPOCH], [])
    return None if epoch is None else epoch.decode(), run_id.decode()


def rebuild_begin(redis: SyncExecutor) -> int:
    """Closes the window. Returns how many jobs are open."""
    return int(scripts.REBUILD_BEGIN.run_sync(redis, [], []))


def rebuild_end(redis: SyncExecutor, windows: Iterable[OrgWindow], window_epoch: str) -> int:
    """Writes every organisation's window, takes the open holds over and opens it. Returns how many holds."""
    for w in windows:
        args: list[scripts.Arg] = [w.org, w.version, w.balance_micro, w.seq, len(w.months)]
        for month, spent in w.months:
            args += [month, spent]
        args.append(len(w.keys))
        for key, version, spent in w.keys:
            args += [key, version, spent]
        scripts.REBUILD_ORG.run_sync(redis, [], args)
    return int(scripts.REBUILD_END.run_sync(redis, [], [window_epoch]))


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """An organisation's window as it stands. Money in micro-won."""

    org: str
    balance_micro: int
    held_micro: int
    slots: int
    seq: int
    version: int


def read(redis: SyncExecutor, org: str) -> Reading | None:
    """The organisation's window, or None where Redis does not know it."""
    raw: Any = redis.execute_command("HMGET", keys.org(org), "bal", "held", "slots", "seq", "v")
    if raw[4] is None:
        return None
    balance, held, slots, seq, version = (int(value or 0) for value in raw)
    return Reading(org, balance, held, slots, seq, version)


def open_jobs(redis: SyncExecutor) -> int:
    """How many jobs hold credit anywhere."""
    return int(redis.execute_command("ZCARD", keys.LEASES))


@dataclasses.dataclass(frozen=True, slots=True)
class OpenHold:
    """Credit held for an open job. ``window_epoch`` is the epoch under which the window counts it."""

    job: str
    org: str
    key: str
    micro: int
    window_epoch: str


@dataclasses.dataclass(frozen=True, slots=True)
class Census:
    """The whole window at one moment: raw hashes per organisation and per key, and every open hold.

    ``newest`` is the id of the last usage event that the hashes include, empty where the stream is.
    """

    epoch: str
    newest: str
    orgs: dict[str, dict[str, int]]
    keys: dict[str, dict[str, int]]
    holds: list[OpenHold]


def census(redis: SyncExecutor, orgs: Sequence[str], key_ids: Sequence[str]) -> Census:
    """Reads the window in one step. An organisation or key that it does not know has an empty hash."""
    epoch, newest, windows, kept, holds = scripts.CENSUS.run_sync(redis, [], [len(orgs), *orgs, *key_ids])

    def numbers(flat: list[bytes]) -> dict[str, int]:
        return {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}

    return Census(
        epoch=epoch.decode(),
        newest=newest.decode(),
        orgs={org: numbers(flat) for org, flat in zip(orgs, windows, strict=True)},
        keys={key: numbers(flat) for key, flat in zip(key_ids, kept, strict=True)},
        holds=[
            OpenHold(job.decode(), org.decode(), key.decode(), int(micro), since.decode())
            for job, org, key, micro, since in holds
        ],
    )
