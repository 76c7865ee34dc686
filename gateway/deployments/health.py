"""How deployments are doing, as all workers know it: breakers, whose turn it is, decayed rates. Kept in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from gateway.credit.scripts import Arg, AsyncExecutor, Script, SyncExecutor

CHOOSE = Script("choose", "gateway.deployments.scripts", prelude="")
REPORT = Script("report", "gateway.deployments.scripts", prelude="")

State = Literal["closed", "open", "cooling"]
_STATES: tuple[State, State, State] = ("closed", "open", "cooling")


class Rules(msgspec.Struct, frozen=True):
    """When a breaker opens and how fast rates fade; times in milliseconds."""

    window_ms: int = 10_000
    failures: int = 5
    half_life_ms: int = 60_000


class Seen(msgspec.Struct):
    """What a worker has seen of a deployment since its last report. Times in milliseconds."""

    good: int = 0
    failed: int = 0
    first_ms: int = 0
    """Sum of the good calls' times to the first token."""
    cool_ms: int = 0
    """The provider does not want to be called for this long."""
    probed: bool = False
    """One of the good calls was a probe: the breaker closes."""


class Health(msgspec.Struct, frozen=True):
    """A deployment's state. `cooling`: its provider asked for a pause. `error_rate` from 0 to 1, decayed. `quiet_ms`:
    how long ago an open one was probed last, 0 for any other."""

    state: State
    error_rate: float
    first_token_ms: int
    quiet_ms: int = 0


class Chosen(msgspec.Struct, frozen=True):
    """`at` is the position among the candidates; None: all are open, ask again in `wait_ms`. `paused`: so soon because
    a provider asked for a pause until then."""

    at: int | None
    probe: bool = False
    wait_ms: int = 0
    paused: bool = False


async def choose(redis: AsyncExecutor, probe_ms: int, candidates: Sequence[tuple[int, str, int]]) -> Chosen:
    """Whose turn it is among `(group, deployment, weight)`, groups in order of preference. Raises Redis's errors."""
    args: list[Arg] = [probe_ms]
    for group, deployment, weight in candidates:
        args += [group, deployment, weight]
    at, more, *paused = await CHOOSE.run(redis, [], args)
    return Chosen(int(at) - 1, bool(more)) if at else Chosen(None, wait_ms=int(more), paused=bool(paused[0]))


async def report(redis: AsyncExecutor, rules: Rules, seen: Sequence[tuple[str, Seen]]) -> list[Health]:
    """Adds what was seen and returns how each of the deployments is now. Raises Redis's errors."""
    return _read(await REPORT.run(redis, [], _args(rules, seen)))


def read(redis: SyncExecutor, deployments: Sequence[str]) -> list[Health]:
    """How deployments are now. Raises Redis's errors."""
    return _read(REPORT.run_sync(redis, [], _args(Rules(), [(name, Seen()) for name in deployments])))


def _args(rules: Rules, seen: Sequence[tuple[str, Seen]]) -> list[Arg]:
    args: list[Arg] = [rules.window_ms, rules.failures, rules.half_life_ms]
    for name, s in seen:
        args += [name, s.good, s.failed, s.first_ms, s.cool_ms, int(s.probed)]
    return args


def _read(answer: Sequence[Sequence[Any]]) -> list[Health]:
    return [
        Health(_STATES[int(state)], int(rate) / 10_000, int(latency), int(quiet))
        for state, rate, latency, quiet in answer
    ]
