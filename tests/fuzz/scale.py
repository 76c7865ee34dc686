"""How much is tried: little in every run of the tests, much by ``python -m tests.fuzz``."""

from __future__ import annotations

import os

VARIABLE = "WONROUTER_FUZZ"


def examples(count: int) -> int:
    """So many examples, times what was asked for."""
    return count * int(os.environ.get(VARIABLE, "1"))
