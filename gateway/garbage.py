"""Python's collector of cycles, for processes that keep much and make much.

A call leaves hundreds of objects behind, nearly all of them without cycles. With the interpreter's own thresholds the
collector walks through everything that the process keeps, libraries and catalogue included, some times a second.
"""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 10_000, 20, 50
"""New objects between two looks at the youngest generation, and looks at one between two at the next. What only the
collector can free (an exception with its frames, a broken connection) waits a few seconds longer for it."""


def settle() -> None:
    """To be called once a process has started: what is there now stays for good and is never walked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
