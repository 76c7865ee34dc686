"""What a check says, and how checks that fail themselves are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec
import psycopg
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

Level = Literal["ok", "warn", "fail"]
"""``warn``: calls are answered and booked, and that may not last. ``fail``: they are not, or not rightly."""


class Finding(msgspec.Struct, frozen=True):
    """One line. ``advice`` says what to do; empty where all is well."""

    check: str
    level: Level
    text: str
    advice: str = ""


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", text)


def warn(check: str, text: str, advice: str) -> Finding:
    """It works, and somebody should see to it."""
    return Finding(check, "warn", text, advice)


def fail(check: str, text: str, advice: str) -> Finding:
    """It does not work, or not as it must."""
    return Finding(check, "fail", text, advice)


def graded(check: str, value: float, warn_above: float, fail_above: float, text: str, advice: str) -> Finding:
    """By a number that should be small."""
    if value > fail_above:
        return fail(check, text, advice)
    return warn(check, text, advice) if value > warn_above else ok(check, text)


Check = Callable[[], Iterable[Finding]]


def run(checks: Iterable[tuple[str, Check]]) -> Iterator[Finding]:
    """All findings in order. A check that cannot be made is a failure, and the others are made all the same."""
    for name, check in checks:
        try:
            yield from check()
        except (SQLAlchemyError, psycopg.Error, RedisError, OSError) as error:
            reason = str(error).strip().splitlines()
            text = f"could not be checked: {type(error).__name__}: {reason[0] if reason else ''}"[:300]
            yield fail(name, text, "mend what is said above, then look again")
