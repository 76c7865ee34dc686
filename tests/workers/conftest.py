"""Fixtures of the worker's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.provider.fixtures import provider
from tests.workers.line import Line

__all__ = ["provider"]


@pytest.fixture
async def line(redis_url: str) -> AsyncIterator[Line]:
    """An empty Redis with one rich organisation, and a relay that listens."""
    made = Line(redis_url)
    await made.open()
    yield made
    await made.close()
