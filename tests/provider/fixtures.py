"""The `provider` fixture; a conftest imports it by name."""

from collections.abc import Iterator

import pytest

from tests.provider.server import Provider, running_provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A fresh mock with an empty log and its default behaviour."""
    with running_provider() as running:
        yield running
