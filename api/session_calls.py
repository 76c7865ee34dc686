"""Calls of models under a session: the console's own pages, without an API key.

A session is believed for less than a second, so that whoever signs out or leaves is refused within one. What it finds is
the hash of the person's console key; from there on the call is one of that key, with the same cache, limits and usage.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from api.auth import Identities
from api.errors import surface_of
from api.sessions import check_csrf, check_json, header, token_of
from gateway.accounts import console_keys, roles, sessions
from gateway.accounts.change import change_async
from gateway.accounts.identity import Identity
from gateway.accounts.sessions import Session
from gateway.credit.scripts import AsyncExecutor
from gateway.errors import InvalidApiKey, InvalidRequest, PermissionDenied, ServiceUnavailable

FRESH_S = 0.8
KNOWN = 10_000
OURS = ("", "same-origin", "none")
"""What a browser says of a request that one of our own pages makes; older ones say nothing."""


class SessionCalls:
    """From a session's cookie to an identity.

    Args:
        engine: PostgreSQL; None: there are no sessions.
        redis: hears of keys that are made.
        identities: the process's cache of keys.
        secret: the installation's; the CSRF token is derived from it.
    """

    def __init__(self, engine: AsyncEngine | None, redis: AsyncExecutor, identities: Identities, secret: bytes) -> None:
        self._engine = engine
        self._redis = redis
        self._identities = identities
        self._secret = secret
        self._known: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    async def authenticate(self, scope: Any) -> tuple[Identity, bytes]:
        """Who calls, and the hash that finds their key again.

        Raises ``InvalidApiKey`` (no session that works), ``PermissionDenied`` (CSRF, another site, the role),
        ``InvalidRequest`` (a body that is not JSON; no organisation chosen), ``ServiceUnavailable``.
        """
        headers = scope["headers"]
        token = token_of(headers)
        if token is None or self._engine is None or surface_of(scope["path"]) != "bizrouter":
            raise InvalidApiKey()
        place = hashlib.sha256(token.encode()).digest()
        sha256, until = self._known.get(place, (b"", 0.0))
        fresh = time.monotonic() < until
        found = None if fresh else await self._look(self._engine, token)
        if not fresh and found is None:
            self._known.pop(place, None)
            raise InvalidApiKey()
        if header(headers, b"sec-fetch-site").decode("latin-1") not in OURS:
            raise PermissionDenied("The request comes from another site.", details={"reason": "csrf"})
        check_csrf(self._secret, token, scope["method"], headers)
        check_json(scope["method"], headers)
        if found is not None:
            sha256 = await self._key(self._engine, *found)
            self._known[place] = (sha256, time.monotonic() + FRESH_S)
            self._known.move_to_end(place)
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
        return await self._identities.of(sha256), sha256

    async def _look(self, engine: AsyncEngine, token: str) -> tuple[Session, bytes | None] | None:
        def work(connection: Connection) -> tuple[Session, bytes | None] | None:
            found = sessions.find(connection, token)
            if found is None:
                return None
            return found, console_keys.find(connection, found.org, found.person) if found.org else None

        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        except (SQLAlchemyError, OSError) as exc:
            raise ServiceUnavailable() from exc

    async def _key(self, engine: AsyncEngine, found: Session, sha256: bytes | None) -> bytes:
        org, person = found.org, found.person
        if org is None:
            raise InvalidRequest("Choose an organization first.", param="organization")
        roles.require(found.roles, "model.call")
        if sha256 is not None:
            return sha256
        try:
            return await change_async(
                engine,
                self._redis,
                person,
                lambda change: console_keys.ensure(change, org, person),
                self._identities.on_news,
            )
        except (SQLAlchemyError, OSError) as exc:
            raise ServiceUnavailable() from exc
