"""From a plan to a deployment that speaks: attempts, waits, and hedges where the first token is late."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from workers.attempt import Asked, Attempt, limits_of
from workers.call import Call
from workers.providers.base import Event, ProviderFailure
from workers.room import Room
from workers.routing.candidates import Candidate
from workers.routing.policy import Again, Others, Plan, Step
from workers.transport import UpstreamFailed

LEAST_WAIT_S = 0.02
"""Between two looks at breakers that are all open."""

Ask = Callable[[Candidate, bool], Asked]
"""What to ask of a candidate; the flag says that it is a probe."""


@dataclasses.dataclass(slots=True)
class Spoken:
    """An attempt that has begun to answer, and its first events."""

    attempt: Attempt
    events: list[Event]


class Opening:
    """One race for the first token. Whoever speaks first wins; the others are closed and recorded, unbilled.

    Args:
        ask: what to ask of a candidate.
        refused: told of failures before the plan is; True where the same candidate shall be asked in another way.
    """

    def __init__(
        self,
        room: Room,
        call: Call,
        plan: Plan,
        ask: Ask,
        refused: Callable[[Asked, ProviderFailure], bool] = lambda _asked, _failure: False,
    ) -> None:
        self._room = room
        self._call = call
        self._plan = plan
        self._ask = ask
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._running: dict[asyncio.Task[Spoken], Attempt | None] = {}
        self._hedge_at: float | None = None

    async def run(self, step: Step) -> Spoken:
        """The first to speak. Raises `UpstreamFailed` with the most telling failure where nobody does."""
        try:
            await self._start(step)
            while self._running:
                spoken = await self._round()
                if spoken is not None:
                    return spoken
            raise UpstreamFailed(self._plan.telling())
        finally:
            await self._close()

    async def _round(self) -> Spoken | None:
        """Waits for a word, a failure, or the time to ask another."""
        timeout = None if self._hedge_at is None else max(0.0, self._hedge_at - self._loop.time())
        done, _ = await asyncio.wait(self._running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            await self._hedge()
            return None
        failed: list[tuple[Attempt, ProviderFailure]] = []
        first: asyncio.Task[Spoken] | None = None
        for task in done:
            error = task.exception()
            if error is None:
                first = first or task  # a second that spoke in the same moment was slower
                continue
            attempt = self._running.pop(task)
            if attempt is None or not isinstance(error, UpstreamFailed):
                raise error
            failed.append((attempt, error.failure))
        for attempt, failure in failed:
            if first is None:
                await self._next(attempt, failure)
            else:
                attempt.failed(failure)
        if first is None:
            return None
        del self._running[first]
        return first.result()

    async def _next(self, attempt: Attempt, failure: ProviderFailure) -> None:
        attempt.failed(failure)
        asked = attempt.asked
        if self._refused(asked, failure) and not self._plan.spent(self._loop.time()):
            await self._start(Again(asked.candidate, 0.0))
            return
        step = self._plan.after(asked.candidate, failure, self._loop.time())
        if step is not None:
            await self._start(step)

    async def _hedge(self) -> None:
        """The newest attempt is late: somebody else is asked beside it, if there is anybody."""
        self._hedge_at = None
        for attempt in self._running.values():
            if attempt is not None:
                attempt.too_slow()
        step = self._plan.other(self._loop.time())
        if step is not None:
            await self._start(step)

    async def _start(self, step: Step) -> None:
        probe = False
        if isinstance(step, Again):
            candidate, wait = step.candidate, step.wait_s
        else:
            chosen = await self._turn(step)
            if chosen is None:
                return
            (candidate, probe), wait = chosen, 0.0
        self._plan.begins(candidate)
        asked = self._ask(candidate, probe)
        task = self._loop.create_task(self._attempt(asked, wait))
        self._running[task] = None
        if asked.stream:
            self._hedge_at = self._loop.time() + wait + limits_of(candidate, self._room.settings).first_token_s
        else:
            self._hedge_at = None

    async def _turn(self, others: Others) -> tuple[Candidate, bool] | None:
        """Whose turn it is; where all breakers are open, the next probe, within the patience for it."""
        until = min(self._loop.time() + self._room.settings.breaker_patience_s, self._plan.deadline)
        while True:
            turn = await self._room.turns.choose(others.groups)
            if turn.candidate is not None:
                return turn.candidate, turn.probe
            now = self._loop.time()
            if self._running or now + turn.wait_s > until:  # nobody is free within the patience
                kind = "rate_limited" if turn.paused else "connect"
                shut = ProviderFailure(kind=kind, message="no deployment may be asked now", retry_after_s=turn.wait_s)
                self._plan.failures.append((others.groups[0][0].model.id, shut))
                return None
            await asyncio.sleep(max(LEAST_WAIT_S, turn.wait_s))

    async def _attempt(self, asked: Asked, wait: float) -> Spoken:
        if wait:
            await asyncio.sleep(wait)
        room = self._room
        limits = limits_of(asked.candidate, room.settings)
        attempt = Attempt(self._call, asked, limits, room.http, room.pictures, room.turns)
        attempt.traced_upstream = room.settings.trace_upstreams
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = attempt
        attempt.may_leave = lambda: len(self._running) > 1 or self._plan.other(self._loop.time()) is not None
        try:
            return Spoken(attempt, await attempt.start(room.leases))
        except BaseException:
            attempt.close()
            raise

    async def _close(self) -> None:
        """Ends what still runs: others were faster, or the call was stopped."""
        for task, attempt in self._running.items():
            if attempt is not None:
                attempt.ended(self._call.stop_reason or "slower", billed=False)
            task.cancel()
        if self._running:
            await asyncio.gather(*self._running, return_exceptions=True)
        for attempt in self._running.values():
            if attempt is not None:
                attempt.close()
