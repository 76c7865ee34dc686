"""Faults that end by themselves: after a number of calls, or after a time."""

import time

import msgspec

from tests.provider.behaviour import Behaviour

_NONE = Behaviour()
FAULTS = ("error", "refuse", "cut", "stall", "garbage", "unreadable", "fail_at", "ending", "first", "down", "times")


def faultless(behaviour: Behaviour) -> Behaviour:
    """The same behaviour without its faults."""
    return msgspec.structs.replace(behaviour, **{name: getattr(_NONE, name) for name in FAULTS})


class Faults:
    """Counts the calls of each model and account that met a fault, and when the first came."""

    def __init__(self) -> None:
        self._met: dict[tuple[str, str], int] = {}
        self._since: dict[tuple[str, str], float] = {}

    def now(self, behaviour: Behaviour, model: str, account: str) -> Behaviour:
        """What this call gets."""
        place = (model, account)
        if behaviour.down > 0:
            if time.monotonic() - self._since.setdefault(place, time.monotonic()) < behaviour.down:
                return msgspec.structs.replace(behaviour, cut=0)
            return faultless(behaviour)
        if behaviour.times > 0:
            self._met[place] = self._met.get(place, 0) + 1
            if self._met[place] > behaviour.times:
                return faultless(behaviour)
        return behaviour

    def clear(self) -> None:
        """Counts from the start again."""
        self._met.clear()
        self._since.clear()
