"""``Idempotency-Key``: whoever asks again gets the first answer, and is charged for one call.

The first call with a key is claimed in Redis (``gateway.credit.once``), runs to its end even if its client leaves, and
leaves its answer there for a day, compressed and sealed. What that means for clients: docs/idempotency.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import zlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
import structlog
from litestar.types import ASGIApp, Receive, Scope, Send
from redis.exceptions import RedisError

from api.errors import Headers
from api.recorded import Recorded, Recording
from gateway.credit import once
from gateway.credit.admission import Once
from gateway.credit.once import Found
from gateway.credit.scripts import AsyncExecutor
from gateway.errors import (
    Conflict,
    GatewayError,
    IdempotencyMismatch,
    InvalidRequest,
    RateLimitExceeded,
    ServiceUnavailable,
)
from gateway.seal import Unsealable
from gateway.settings import Settings
from gateway.wire import keys

HEADER = b"idempotency-key"
REPLAYED = (b"idempotent-replayed", b"true")
LONGEST_KEY = 255
"""Characters: a UUID has 36, and a key is no place for data."""
LEASE_S = 30.0
"""Covers what happens between a claim and its job, and between the job's end and the kept answer. Meanwhile the job's
own lease tells whether somebody works on it."""
RENEW_S = 10.0
TOKEN_BYTES = 16
AWAY_FROM_LOOP_BYTES = 64 * 1024
"""Answers above this are compressed in a thread: megabytes would hold up every other answer for tens of ms."""

log = structlog.get_logger()


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """An answer as it lies in Redis, sealed and compressed."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class InProgress(Conflict):
    """The first call with this key still runs. SDKs try a 409 again by themselves."""

    code, default = "idempotency_in_progress", "The first request with this Idempotency-Key is still being processed."


class AnswerLost(Conflict):
    """It was charged, and there is no answer to give again: only a new key may be charged again."""

    code, retryable = "idempotency_answer_lost", False
    default = "The first request with this Idempotency-Key was charged, but its answer was not kept. Use a new key."


class Idempotency:
    """Claims, records and replays.

    Args:
        settings: bounds, and the secret that seals answers.
        redis: the process's line.
    """

    def __init__(self, settings: Settings, redis: AsyncExecutor) -> None:
        self._settings = settings
        self._redis = redis
        self._sealer = settings.sealer("idempotency")
        self._hash_key = settings.hash_key
        self._running: set[asyncio.Task[None]] = set()

    async def answer(
        self, scope: Any, org: str, caller: str, raw: bytes, respond: Callable[[Once | None], Awaitable[ASGIApp]]
    ) -> ASGIApp:
        """``respond``'s answer, or the first one where the request's key has been used before.

        ``caller`` is whose keys these are: an API key's id. ``respond`` gets the claim, for the job to be placed
        under. Raises what ``respond`` raises; ``InvalidRequest`` (the key), ``IdempotencyMismatch``, ``Conflict``
        (409: under way, or lost), ``RateLimitExceeded`` (too many keys), ``ServiceUnavailable``.
        """
        key = key_in(scope["headers"])
        if key is None:
            return await respond(None)
        claimed = self._claimed(caller, key)
        found = await self._claim(claimed, org, scope["path"].encode() + b"\n" + raw)
        if found is not None:
            return Replay(self._open(claimed, found.answer))
        try:
            app = await respond(claimed)
        except BaseException:
            await self._release(claimed, org)
            raise
        recording = Recording(self._settings.idempotency_answer_bytes)
        task = asyncio.create_task(self._run(app, scope, recording, claimed, org))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return Recorded(recording)

    async def value(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        org: str,
        caller: str,
        raw: bytes,
        work: Callable[[], Awaitable[Any]],
    ) -> Any:
        """The same for what answers with a value: ``work``'s, or the first one as it was encoded in JSON.

        For changes that are idempotent by themselves: a crash between the change and its kept answer runs it again.
        """
        key = key_in(headers)
        if key is None:
            return await work()
        claimed = self._claimed(caller, key)
        found = await self._claim(claimed, org, raw)
        if found is not None:
            return msgspec.json.decode(self._open(claimed, found.answer).body)
        try:
            made = await work()
        except BaseException:
            await self._release(claimed, org)
            raise
        await self._keep(claimed, org, Kept(200, [], msgspec.json.encode(made)))
        return made

    async def aclose(self) -> None:
        """Ends calls whose clients have left: they are charged for what was used, and their answers are lost."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, app: ASGIApp, scope: Any, recording: Recording, claimed: Once, org: str) -> None:
        """Carries one call to its end, whoever still listens, and keeps what came of it."""
        renewing = asyncio.create_task(self._renew(claimed))
        try:
            await app({**scope, "extensions": {}}, _never, recording.take)  # pyright: ignore[reportArgumentType]
            await self._conclude(recording, claimed, org)
        except Exception as exc:  # noqa: BLE001 whatever it was is raised where the client is answered
            recording.fail(exc)
            await self._release(claimed, org)
        finally:
            recording.end()
            renewing.cancel()

    async def _conclude(self, recording: Recording, claimed: Once, org: str) -> None:
        """A whole answer is kept, and so is an error that was charged; any other error leaves the key free."""
        if not recording.complete:
            await self._release(claimed, org)
        elif not recording.failed or await self._release(claimed, org) == "charged":
            kept = Kept(recording.status, _lasting(recording.headers), recording.body)
            await self._keep(claimed, org, kept, too_large=recording.overflowed)

    async def _renew(self, claimed: Once) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                await once.renew(self._redis, claimed, int(LEASE_S * 1000))
            except (RedisError, OSError):
                log.warning("idempotency_lease_waits")

    async def _claim(self, claimed: Once, org: str, request: bytes) -> Found | None:
        """None: the call is the caller's to make. Otherwise the kept answer; every other state is an error."""
        fingerprint = self._mac(b"request", request)
        most, lease = self._settings.idempotency_org_keys, int(LEASE_S * 1000)
        try:
            found = await once.claim(self._redis, claimed, org, fingerprint, lease_ms=lease, most=most)
        except (RedisError, OSError) as exc:
            raise ServiceUnavailable() from exc
        if found is None or found.state == "kept":
            return found
        raise _refusal(found)

    async def _keep(self, claimed: Once, org: str, answer: Kept, *, too_large: bool = False) -> None:
        sealed = b"" if too_large else await self._seal(claimed, answer)
        try:
            verdict = await once.keep(self._redis, claimed, org, sealed, self._settings.idempotency_org_bytes)
        except (RedisError, OSError):
            verdict = "unreachable"
        if verdict != "kept":
            log.warning("idempotency_answer_not_kept", org=org, reason=verdict, bytes=len(sealed))

    async def _release(self, claimed: Once, org: str) -> str:
        try:
            return await once.release(self._redis, claimed, org)
        except (RedisError, OSError):
            log.warning("idempotency_release_waits", org=org)  # until the lease is over
            return "unreachable"

    async def _seal(self, claimed: Once, answer: Kept) -> bytes:
        plain = msgspec.msgpack.encode(answer)
        if len(plain) > AWAY_FROM_LOOP_BYTES:
            packed = await asyncio.to_thread(zlib.compress, plain, 1)
        else:
            packed = zlib.compress(plain, 1)
        return self._sealer.seal(packed, claimed.record.encode())

    def _open(self, claimed: Once, sealed: bytes) -> Kept:
        try:
            plain = zlib.decompress(self._sealer.open(sealed, claimed.record.encode()))
        except Unsealable as exc:
            raise AnswerLost() from exc
        return msgspec.msgpack.decode(plain, type=Kept)

    def _claimed(self, caller: str, key: bytes) -> Once:
        record = keys.once(self._mac(b"key", caller.encode() + b"\n" + key)[:32])
        return Once(record, secrets.token_hex(TOKEN_BYTES))

    def _mac(self, what: bytes, data: bytes) -> str:
        """Keyed, so that nobody who reads Redis can try prompts until one fits."""
        return hmac.new(self._hash_key, b"once " + what + b"\n" + data, hashlib.sha256).hexdigest()


class Replay:
    """The first answer again, with what says so: JSON as JSON, a stream as a stream in one piece."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Sends it."""
        start: Any = {
            "type": "http.response.start",
            "status": self._kept.status,
            "headers": [*self._kept.headers, REPLAYED],
        }
        await send(start)
        await send({"type": "http.response.body", "body": self._kept.body, "more_body": False})


def key_in(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The request's key; None without one. Raises ``InvalidRequest``."""
    found = [value for name, value in headers if name == HEADER]
    if not found:
        return None
    key = found[0].strip()
    if len(found) > 1 or not 1 <= len(key) <= LONGEST_KEY or not all(0x21 <= byte <= 0x7E for byte in key):
        raise InvalidRequest(
            f"Idempotency-Key must be 1 to {LONGEST_KEY} visible ASCII characters.",
            param="Idempotency-Key",
            code="idempotency_key_invalid",
        )
    return key


def _refusal(found: Found) -> GatewayError:
    match found.state:
        case "mismatch":
            return IdempotencyMismatch()
        case "busy":
            return InProgress(retry_after_s=found.wait_ms / 1000)
        case "full":
            return RateLimitExceeded("Too many Idempotency-Keys within 24 hours.", retry_after_s=found.wait_ms / 1000)
        case _:
            return AnswerLost()


def _lasting(headers: Headers) -> Headers:
    """What belongs to the answer itself: rate limits and request ids belong to the moment."""
    return [(n, v) for n, v in headers if n in (b"content-type", b"content-length") or n.startswith(b"x-wonrouter-")]


async def _never() -> Any:
    """Nobody leaves a call that was asked to be made once."""
    await asyncio.Event().wait()
