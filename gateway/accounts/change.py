"""One change to accounts: rows, version, outbox and audit log in one transaction; Redis hears of it after the commit.

The outbox alone would be enough, in its own time. Telling the window at once makes a revoked key fail within
milliseconds, and a new one work.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.accounts import outbox
from gateway.credit import scripts
from gateway.credit.scripts import AsyncExecutor, SyncExecutor
from gateway.db.tables import accounts
from gateway.wire import keys
from gateway.wire.news import Kind, News, encode_news

OPERATOR = "operator"
"""The actor of the command line: whoever may reach the database as its owner."""

_log = logging.getLogger(__name__)
Result = TypeVar("Result")


class Change:
    """An open transaction, who acts in it, and what is to be told when it has been committed.

    Rows are written first and the outbox last: settlement takes the same locks in the same order.
    """

    def __init__(self, connection: Connection, actor: str) -> None:
        self.connection = connection
        self.actor = actor
        self._seeds: list[tuple[str, int, int | str]] = []
        self.news: list[News] = []
        """What is told after the commit."""

    def audit(self, action: str, subject: str, org: UUID | None = None, **details: Any) -> None:
        """Appends to the audit log. ``details`` hold no secret and no personal data beyond ids."""
        told = {name: _told(value) for name, value in details.items()}
        row = {"actor": self.actor, "action": action, "subject": subject, "org": org, "details": told}
        self.connection.execute(accounts.audit_log.insert().values(row))

    def organisation_changed(self, org: UUID, version: int) -> int:
        """Sends an organisation's new version on its way. The first one makes its window. Returns the outbox number."""
        news = self._tell("org", org)
        self._seeds.append((keys.org(str(org)), version, ""))
        return outbox.append(self.connection, str(org), org_version=version, news=news)

    def key_changed(self, org: UUID, key: UUID, version: int) -> int:
        """Sends a key's new version on its way. Returns the outbox number."""
        news = self._tell("key", key)
        # A window that does not know the key has seen it spend nothing; one that was lost is rebuilt before it opens.
        self._seeds.append((keys.key(str(key)), version, 0))
        return outbox.append(self.connection, str(org), key=str(key), key_version=version, news=news)

    def tell(self, kind: Kind, subject: UUID) -> None:
        """Publishes news after the commit that no window waits for. Lost ones are not sent again: others look anyway."""
        self.news.append(News(kind, str(subject)))

    def tell_all(self, kind: Kind) -> None:
        """The same of something that changed as a whole."""
        self.news.append(News(kind))

    def _tell(self, kind: Kind, subject: UUID) -> bytes:
        news = News(kind, str(subject))
        self.news.append(news)
        return encode_news(news)

    def announce(self, redis: SyncExecutor) -> None:
        """After the commit: makes versions known and publishes the news. Without Redis, the outbox does it later."""
        try:
            for name, version, spent in self._seeds:
                scripts.SEED.run_sync(redis, [name], [version, spent])
            for news in self.news:
                redis.execute_command("PUBLISH", keys.NEWS, encode_news(news))
        except RedisError as exc:
            _log.warning("a committed change waits for Redis: %s", exc)

    async def announce_async(self, redis: AsyncExecutor) -> None:
        """The same on an asyncio client."""
        try:
            for name, version, spent in self._seeds:
                await scripts.SEED.run(redis, [name], [version, spent])
            for news in self.news:
                await redis.execute_command("PUBLISH", keys.NEWS, encode_news(news))
        except RedisError as exc:
            _log.warning("a committed change waits for Redis: %s", exc)


@contextmanager
def changing(engine: Engine, redis: SyncExecutor, actor: str) -> Generator[Change]:
    """One change on blocking clients: commits at the end of the block, then announces."""
    with engine.begin() as connection:
        change = Change(connection, actor)
        yield change
    change.announce(redis)


async def change_async(
    engine: AsyncEngine,
    redis: AsyncExecutor,
    actor: str,
    work: Callable[[Change], Result],
    heed: Callable[[News], None],
) -> Result:
    """One change on asyncio clients: ``work`` runs in the transaction; its result comes back after the commit.

    ``heed`` takes the news into this process's own caches before that: who is told that a change is done finds it done
    at their next request, even while the news are on their way, or Redis is away.
    """
    changes: list[Change] = []

    def run(connection: Connection) -> Result:
        changes.append(Change(connection, actor))
        return work(changes[0])

    async with engine.begin() as connection:
        result = await connection.run_sync(run)
    await changes[0].announce_async(redis)
    for news in changes[0].news:
        heed(news)
    return result


def _told(value: Any) -> Any:
    """A value as JSON keeps it without loss."""
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, (Decimal, UUID)) else value
