"""The cache of identities, where PostgreSQL answers in the test's own time."""

from __future__ import annotations

import asyncio

import pytest

from api.auth import Identities
from gateway.accounts.identity import Identity
from gateway.errors import InvalidApiKey
from gateway.wire.news import News
from tests.api.conftest import an_identity

pytestmark = pytest.mark.anyio

HASH = b"h" * 32


class Slow:
    """A loader whose answers the test gives, one for each question."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Identity | None]] = []

    async def by_hash(self, sha256: bytes) -> Identity | None:
        assert sha256 == HASH
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]

    async def question(self, number: int) -> asyncio.Future[Identity | None]:
        """The question with this number, from 0, once it has been put."""
        for _ in range(100):
            if len(self.asked) > number:
                return self.asked[number]
            await asyncio.sleep(0)
        raise AssertionError(f"PostgreSQL was asked {len(self.asked)} times")


@pytest.fixture
def loader() -> Slow:
    return Slow()


@pytest.fixture
def identities(loader: Slow) -> Identities:
    return Identities(loader, fresh_s=1_000.0)


async def test_who_asks_at_once_is_answered_by_one_question(identities: Identities, loader: Slow) -> None:
    asking = [asyncio.create_task(identities.of(HASH)) for _ in range(5)]
    (await loader.question(0)).set_result(an_identity())
    assert await asyncio.gather(*asking) == [an_identity()] * 5
    assert await identities.of(HASH) == an_identity() and len(loader.asked) == 1


async def test_a_refusal_is_remembered_for_a_moment(identities: Identities, loader: Slow) -> None:
    asking = asyncio.create_task(identities.of(HASH))
    (await loader.question(0)).set_result(None)
    for refused in (asking, identities.of(HASH)):
        with pytest.raises(InvalidApiKey):
            await refused
    assert len(loader.asked) == 1


async def test_who_comes_after_a_change_does_not_get_what_was_asked_before_it(
    identities: Identities, loader: Slow
) -> None:
    early = asyncio.create_task(identities.of(HASH))
    before = await loader.question(0)
    identities.on_news(News("key", "key1"))
    late = asyncio.create_task(identities.of(HASH))
    after = await loader.question(1)
    after.set_result(an_identity())
    assert await late == an_identity()
    before.set_result(None)
    with pytest.raises(InvalidApiKey):
        await early
    # the old answer came last: it is no reason to refuse anybody
    again = asyncio.create_task(identities.of(HASH))
    (await loader.question(2)).set_result(an_identity())
    assert await again == an_identity()


@pytest.mark.parametrize("found", [an_identity(), None], ids=["known", "unknown"])
async def test_what_was_read_while_something_changed_is_not_believed_twice(
    identities: Identities, loader: Slow, found: Identity | None
) -> None:
    asking = asyncio.create_task(identities.of(HASH))
    question = await loader.question(0)
    identities.on_news(News("key", "key1"))
    question.set_result(found)
    await asyncio.wait([asking])
    again = asyncio.create_task(identities.of(HASH))
    (await loader.question(1)).set_result(an_identity(key_name="after"))
    assert (await again).key_name == "after"
    asking.exception()
