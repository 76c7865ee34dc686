"""Runs the asynchronous side of the window over a blocking client, so that properties read as plain steps."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from redis import Redis

T = TypeVar("T")


class Blocking:
    """An ``AsyncExecutor`` that never really waits."""

    def __init__(self, client: Redis) -> None:
        self.client = client

    async def execute_command(self, *args: Any) -> Any:
        return self.client.execute_command(*args)


def done(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the coroutine waited for something")
