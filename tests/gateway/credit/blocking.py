"""Runs the asynchronous side of the window over a blocking client, so that properties read as plain steps."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from redis import Redis

T = TypeVar("T")


class Blocking:
    """An ``AsyncExecutor`` that never really waits."""

    def __init__(self, client: Redis) -> None:
        self.client = client

    async def execute_command(self, *args: Any) -> Any:
        return self.client.execute_command(*args)


class InOneMoment(Blocking):
    """Runs each command in a transaction, in which Redis's clock stands still, between commands of the test's own.

    What lapses by itself can be looked at so, and its time be set, however slow the machine is between two commands.
    """

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self.before: list[Sequence[Any]] = []
        self.after: list[Sequence[Any]] = []
        self.told: list[Any] = []
        """What ``after`` was answered the last time."""

    async def execute_command(self, *args: Any) -> Any:
        pipe = self.client.pipeline(transaction=True)
        for command in (*self.before, args, *self.after):
            pipe.execute_command(*command)
        replies = pipe.execute(raise_on_error=False)
        reply, self.told = replies[len(self.before)], replies[len(self.before) + 1 :]
        if isinstance(reply, Exception):
            raise reply
        return reply


def done(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the coroutine waited for something")
