"""How much is tried: little in every run of the tests, much by ``python -m tests.fuzz``."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

VARIABLE = "WONROUTER_FUZZ"
T = TypeVar("T")


def some(all_of_them: Iterable[T], step: int) -> Iterator[T]:
    """Every ``step``-th of a list, the same every time; all of it in a longer run."""
    return itertools.islice(all_of_them, 0, None, step if examples(1) == 1 else 1)


def examples(count: int) -> int:
    """So many examples, times what was asked for."""
    return count * int(os.environ.get(VARIABLE, "1"))
