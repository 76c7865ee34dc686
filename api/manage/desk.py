"""How the routes reach PostgreSQL, and how what goes wrong there becomes an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import structlog
from litestar.exceptions import ValidationException
from redis.exceptions import RedisError
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine

from api.errors import handle
from api.parts import Parts
from gateway.accounts.change import Change, change_async
from gateway.errors import InternalError, InvalidRequest, ServiceUnavailable
from gateway.settings import Settings

T = TypeVar("T")

UNSTORABLE = InvalidRequest("The request holds a value that cannot be stored.")

log = structlog.get_logger()


class Desk:
    """Reads and changes, each in one transaction.

    Args:
        parts: the process's.
        engine: PostgreSQL, as ``wonrouter_api``.
    """

    def __init__(self, parts: Parts, engine: AsyncEngine) -> None:
        self.parts = parts
        self._engine = engine

    @property
    def settings(self) -> Settings:
        """The process's."""
        return self.parts.settings

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` finds."""
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def change(self, actor: str, work: Callable[[Change], T]) -> T:
        """What ``work`` returns, once it is committed and announced."""
        return await change_async(self._engine, self.parts.redis, actor, work, self.parts.heed)


def answer_invalid(request: Any, exc: ValidationException) -> Any:
    """A body or parameter of the wrong shape, as our error that names the first field."""
    extra = cast("list[dict[str, Any]]", exc.extra if isinstance(exc.extra, list) else [])
    first = extra[0] if extra else dict[str, Any]()
    message = str(first.get("message") or exc.detail)
    return handle(request, InvalidRequest(message, param=first.get("key")))


def answer_away(request: Any, exc: Exception) -> Any:
    """PostgreSQL or Redis does not answer: come back later. A value that no column takes (NUL in a text, a number beyond
    all types) is the caller's; what else they say is our fault."""
    if isinstance(exc, DataError):
        log.warning("value_refused", reason=type(exc.orig).__name__)
        return handle(request, UNSTORABLE)
    if isinstance(exc, (OperationalError, InterfaceError, PoolTimeout, RedisError, OSError)):
        log.warning("store_away", reason=type(exc).__name__)
        return handle(request, ServiceUnavailable())
    log.error("statement_failed", exc_info=exc)
    return handle(request, InternalError())


def answer_deep(request: Any, _exc: RecursionError) -> Any:
    """The parser gave up on a body that nests for its own sake."""
    return handle(request, InvalidRequest("The body nests too deep."))


HANDLERS: dict[int | type[Exception], Callable[..., Any]] = {
    ValidationException: answer_invalid,
    SQLAlchemyError: answer_away,
    RedisError: answer_away,
    RecursionError: answer_deep,
}
