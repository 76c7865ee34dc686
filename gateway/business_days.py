"""Korean business days.

`holidays` knows the law's holidays and their substitutes; a temporary holiday that the government declares later is
passed as `extra`.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Set as AbstractSet

NONE: frozenset[dt.date] = frozenset()
_SATURDAY = 5


@functools.lru_cache(maxsize=64)
def _holidays(year: int) -> frozenset[dt.date]:
    import holidays  # a quarter of a second that a command without dates need not wait

    # "bank" holds Labour Day for the years in which it was not yet a public holiday.
    return frozenset(holidays.country_holidays("KR", years=year, categories=("public", "bank")))


def is_business_day(day: dt.date, extra: AbstractSet[dt.date] = NONE) -> bool:
    """Whether offices and banks are open in Korea on `day`."""
    return day.weekday() < _SATURDAY and day not in _holidays(day.year) and day not in extra


def on_or_after(day: dt.date, extra: AbstractSet[dt.date] = NONE) -> dt.date:
    """`day` itself if it is a business day, else the next one."""
    while not is_business_day(day, extra):
        day += dt.timedelta(days=1)
    return day


def business_days_between(start: dt.date, end: dt.date, extra: AbstractSet[dt.date] = NONE) -> int:
    """How many business days follow `start`, up to and with `end`. 0 where `end` is not after `start`."""
    days = (start + dt.timedelta(days=passed) for passed in range(1, (end - start).days + 1))
    return sum(is_business_day(day, extra) for day in days)


def after_business_days(start: dt.date, count: int, extra: AbstractSet[dt.date] = NONE) -> dt.date:
    """The `count`-th business day after `start`."""
    day = start
    for _ in range(count):
        day = on_or_after(day + dt.timedelta(days=1), extra)
    return day
