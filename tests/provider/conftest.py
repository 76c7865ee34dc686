"""Makes the mock's own fixture known to its own tests."""

from tests.provider.fixtures import provider

__all__ = ["provider"]
