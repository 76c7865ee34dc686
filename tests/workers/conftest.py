"""Fixtures of the worker's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.provider.fixtures import provider
from tests.workers.line import Line
from tests.workers.valkey import Valkey

__all__ = ["provider"]


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One server for all tests of the session."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """uvloop, as in production."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def line(valkey_server: Valkey) -> AsyncIterator[Line]:
    """An empty Redis with one rich organisation, and a relay that listens."""
    made = Line(valkey_server)
    await made.open()
    yield made
    await made.close()
