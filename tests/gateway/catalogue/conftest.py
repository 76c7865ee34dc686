"""A snapshot of the packaged catalogue at the rate that the published list was printed with."""

import datetime
from decimal import Decimal

import pytest

from gateway.catalogue.model import FxRate
from gateway.catalogue.snapshot import Snapshot

KST = datetime.timezone(datetime.timedelta(hours=9))


def at(text: str) -> int:
    """A Seoul time in ISO notation as Unix milliseconds."""
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=KST).timestamp() * 1000)


def rate(id: str, date: str, won: str, entered: str) -> FxRate:
    """A rate for a date, entered at a Seoul time."""
    return FxRate(
        id=id,
        date=datetime.date.fromisoformat(date),
        rate=Decimal(won),
        source="manual",
        effective_from_ms=at(entered),
    )


@pytest.fixture(scope="session")
def listed() -> Snapshot:
    return Snapshot.packaged([rate("r", "2025-12-08", "1470", "2025-12-08T00:00")], {"openai/gpt-4o", "sandbox/echo"})
