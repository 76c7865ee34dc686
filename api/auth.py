"""From a credential to an identity: hashed, looked up in a cache of seconds, loaded once however many ask.

While PostgreSQL is away, identities that are known go on being used for some minutes: the admission script compares
versions anyway, so a revoked key is refused even then. A key that nobody knows gets 503 then, not 401.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from api.sources import IdentityLoader, SourceAway
from gateway.accounts.identity import Identity, key_hash
from gateway.errors import InvalidApiKey, ServiceUnavailable
from gateway.wire.news import News

KNOWN, UNKNOWN = 50_000, 10_000
"""Entries kept. Unknown keys have a bound of their own: guesses must not push real keys out."""
UNKNOWN_S = 1.0
"""A key that was not found is asked for again after this: it may just have been made."""
STALE_S = 600.0
"""How long an identity is used beyond its time while PostgreSQL is away."""
LONGEST_KEY = 256
_PREFIXES = ("sk-br-v1-", "kr-")


class NoCredential(InvalidApiKey):
    """The request carries no API key at all."""


class Known:
    """A cached identity."""

    __slots__ = ("fresh_until", "identity", "loaded_at")

    def __init__(self, identity: Identity, now: float, fresh_s: float) -> None:
        self.identity = identity
        self.loaded_at = now
        self.fresh_until = now + fresh_s


def credential(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The API key a request carries: ``X-API-Key`` wins over ``Authorization: Bearer``. Raises ``InvalidApiKey``,
    and ``NoCredential`` where there is none."""
    bearer = b""
    for name, value in headers:
        if name == b"x-api-key":
            return _plain(value)
        if name == b"authorization":
            bearer = value
    if not bearer:
        raise NoCredential()
    scheme, _, token = bearer.partition(b" ")
    if scheme.lower() != b"bearer":
        raise InvalidApiKey()
    return _plain(token)


def _plain(raw: bytes) -> str:
    key = raw.strip().decode("latin-1")
    if len(key) > LONGEST_KEY or not key.startswith(_PREFIXES):
        raise InvalidApiKey()
    return key


class Identities:
    """The process's cache of identities.

    Args:
        loader: PostgreSQL.
        fresh_s: how long an identity is believed without asking.
        used: hears of every use of a key: its id, and milliseconds since 1970.
    """

    def __init__(self, loader: IdentityLoader, fresh_s: float, used: Callable[[str, int], None] | None = None) -> None:
        self._used = used
        self._loader = loader
        self._fresh_s = fresh_s
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._loading: dict[bytes, tuple[int, asyncio.Task[Identity | None]]] = {}
        self._changes = 0

    async def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[Identity, bytes]:
        """Who calls, and the hash that finds them again. Raises ``InvalidApiKey``, ``ServiceUnavailable``."""
        sha256 = key_hash(credential(headers))
        return await self.of(sha256), sha256

    async def of(self, sha256: bytes) -> Identity:
        """Who calls with the key of this hash; the use is noted. Raises ``InvalidApiKey``, ``ServiceUnavailable``."""
        identity = await self._of(sha256)
        if self._used is not None:
            self._used(identity.key_id, int(time.time() * 1000))
        return identity

    async def _of(self, sha256: bytes) -> Identity:
        now = time.monotonic()
        known = self._known.get(sha256)
        if known is not None and now < known.fresh_until:
            return _unexpired(known.identity)
        if known is None and self._unknown.get(sha256, 0.0) > now:
            raise InvalidApiKey()
        return await self.reload(sha256)

    def organisation(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The organisation of a request's key, as far as this process remembers it; empty where it does not. No proof
        of anything: only good for refusing."""
        try:
            known = self._known.get(key_hash(credential(headers)))
        except (InvalidApiKey, NoCredential):
            return ""
        return "" if known is None else known.identity.org_id

    async def reload(self, sha256: bytes) -> Identity:
        """The identity as PostgreSQL has it now. Raises ``InvalidApiKey``, ``ServiceUnavailable``."""
        loading = self._loading.get(sha256)
        if loading is None or loading[0] != self._changes:  # what was asked before a change may not know of it
            loading = self._changes, asyncio.create_task(self._load(sha256, self._changes))
            self._loading[sha256] = loading
        try:
            identity = await asyncio.shield(loading[1])
        except SourceAway as exc:
            known = self._known.get(sha256)
            if known is None or time.monotonic() - known.loaded_at > STALE_S:
                raise ServiceUnavailable() from exc
            identity = known.identity
        if identity is None:
            raise InvalidApiKey()
        return _unexpired(identity)

    def on_news(self, news: News) -> None:
        """A key or an organisation changed: ask again at its next request."""
        if news.kind == "key":
            self._unknown.clear()
        if news.kind in ("key", "org"):
            self._changes += 1
            for known in self._known.values():
                if news.id in (known.identity.key_id, known.identity.org_id):
                    known.fresh_until = 0.0

    def expire_all(self) -> None:
        """News may have been missed: ask again for every key."""
        self._unknown.clear()
        self._changes += 1
        for known in self._known.values():
            known.fresh_until = 0.0

    async def _load(self, sha256: bytes, changes: int) -> Identity | None:
        try:
            identity = await self._loader.by_hash(sha256)
            now = time.monotonic()
            # what changed while we were reading may not be in what we read
            certain = changes == self._changes
            if identity is None:
                self._known.pop(sha256, None)
                if certain:
                    self._unknown[sha256] = now + UNKNOWN_S
                if len(self._unknown) > UNKNOWN:
                    self._unknown.popitem(last=False)
            else:
                self._unknown.pop(sha256, None)
                self._known[sha256] = Known(identity, now, self._fresh_s if certain else 0.0)
                self._known.move_to_end(sha256)
                if len(self._known) > KNOWN:
                    self._known.popitem(last=False)
            return identity
        finally:
            loading = self._loading.get(sha256)
            if loading is not None and loading[0] == changes:
                del self._loading[sha256]


def _unexpired(identity: Identity) -> Identity:
    if identity.expires_ms is not None and identity.expires_ms <= time.time() * 1000:
        raise InvalidApiKey()
    return identity
