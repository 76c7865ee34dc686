"""One settler at a time: a PostgreSQL advisory lock on a connection of its own, which also carries the writes.

The lock is taken for one turn of the loop and given back, so that standby processes, the rebuild command and the
reconciliation wait for milliseconds and see no half-done turn. A lost connection loses lock and open transaction
together: nobody can write on who no longer holds it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

from sqlalchemy import Connection, Engine

SETTLER = 7_301_002
"""Advisory lock of whoever moves usage from Redis to PostgreSQL, and changes from PostgreSQL to Redis."""


class SettlerLock:
    """The connection that can hold the lock. Not for several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    @contextlib.contextmanager
    def turn(self, *, wait: bool = False) -> Generator[Connection | None]:
        """The connection, with the lock held until the block ends; None where another holds it and ``wait`` is off.

        The block opens its own transactions. Raises ``psycopg.Error`` or ``sqlalchemy.exc.DBAPIError`` where PostgreSQL
        is away; the next turn connects again.
        """
        try:
            connection = self._connected()
            function = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
            if ask(connection, f"SELECT {function}({SETTLER})")[0] is False:
                yield None
                return
            yield connection
            ask(connection, f"SELECT pg_advisory_unlock({SETTLER})")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the connection for good: whatever it held is free."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection


def ask(connection: Connection, query: str) -> Any:
    """The only row of a query, asked outside a transaction: one round trip instead of three, on the driver itself.

    Five times a second there is mostly nothing else to do. Raises ``psycopg.Error``; the connection is then not to be
    used any more.
    """
    driver: Any = connection.connection.driver_connection
    driver.autocommit = True
    row = driver.execute(query).fetchone()
    driver.autocommit = False
    return row
