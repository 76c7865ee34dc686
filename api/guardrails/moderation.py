"""Asks the operator's moderation endpoint about a prompt, for organisations that want it.

It fails closed: a prompt that could not be judged in time does not leave. The endpoint sees the masked text, and none of
an organisation whose switches (domestic only, no training) do not let it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from api.errors import NotConfigured
from gateway.accounts.identity import Identity
from gateway.errors import ServiceUnavailable
from gateway.guardrails import moderation
from gateway.guardrails.body import OFF_LOOP_BYTES
from gateway.guardrails.moderation import IN_ONE_REQUEST, Judge, Unjudged
from gateway.http import HttpError, UpstreamTransport
from gateway.settings import Settings

AT_ONCE = 4
"""Requests about one prompt: only one of more than 256,000 characters needs a second."""
MOST_WAITING = 1_000
"""Prompts under judgement in one process; with more the endpoint is too slow, and waiting would only fill memory."""
MOST_BYTES = 256 * 1024
"""Of a verdict: some 2 KB for each input."""
CONNECT_S = 2.0
_AGAIN = frozenset({429, 500, 502, 503, 504})

log = structlog.get_logger()


def judge_of(settings: Settings) -> Judge | None:
    """The endpoint that the settings name; None where there is none."""
    if not settings.moderation_url:
        return None
    return Judge(settings.moderation_provider, settings.moderation_domestic, settings.moderation_no_training)


class Moderation:
    """One process's connections to the endpoint."""

    def __init__(self, settings: Settings) -> None:
        self.judge = judge_of(settings)
        self._url = settings.moderation_url
        self._key = settings.moderation_key.get_secret_value()
        self._model = settings.moderation_model
        self._timeout_s = settings.moderation_timeout_s
        self._http: UpstreamTransport | None = None
        self._waiting = 0

    async def categories(self, identity: Identity, body: dict[str, Any], size: int) -> set[str]:
        """What is inappropriate in a decoded and masked request body of ``size`` bytes; empty: nothing.

        Raises ``ServiceUnavailable``.
        """
        if self.judge is None:
            raise NotConfigured("Prompts are to be moderated, and no moderation endpoint is configured")
        if not self.judge.may_read(domestic_only=identity.domestic_only, no_training=identity.no_training):
            raise NotConfigured("Prompts are to be moderated, and the moderation endpoint may not read them")
        if self._waiting >= MOST_WAITING:
            raise ServiceUnavailable
        self._waiting += 1
        try:
            if size > OFF_LOOP_BYTES:
                pieces = await asyncio.to_thread(moderation.pieces_of, body)
            else:
                pieces = moderation.pieces_of(body)
            return await self._judged(pieces)
        finally:
            self._waiting -= 1

    async def _judged(self, pieces: list[str]) -> set[str]:
        room = asyncio.Semaphore(AT_ONCE)
        batches = [pieces[start : start + IN_ONE_REQUEST] for start in range(0, len(pieces), IN_ONE_REQUEST)]

        async def one(batch: list[str]) -> set[str]:
            async with room:
                return moderation.flagged(await self._asked(moderation.question(batch, self._model)), len(batch))

        try:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(one(batch)) for batch in batches]
        except BaseExceptionGroup as failed:  # what `except*` raises comes out wrapped on some versions of Python
            known, other = failed.split((*HttpError, Unjudged))
            if known is None or other is not None:
                raise
            error = known.exceptions[0]
            # an error of the client may name the URL; a verdict's own words are never repeated
            log.error("moderation_failed", error=type(error).__name__)
            raise ServiceUnavailable("The prompt could not be checked. Please try again.") from None
        return set[str]().union(*(task.result() for task in asked))

    async def _asked(self, content: bytes) -> bytes:
        """The verdict; asked for twice where the endpoint has a bad moment. Raises one of ``HttpError``, ``Unjudged``."""
        async with asyncio.timeout(self._timeout_s):
            try:
                status, raw = await self._sent(content)
            except HttpError:
                status, raw = await self._sent(content)
            else:
                if status in _AGAIN:
                    status, raw = await self._sent(content)
        if status != 200:
            raise Unjudged(f"status {status}")
        return raw

    async def _sent(self, content: bytes) -> tuple[int, bytes]:
        if self._http is None:
            self._http = UpstreamTransport(
                connect_timeout_s=CONNECT_S, allow_private=True
            )  # the operator's own address
        headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "wonrouter",
        }
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        response = await self._http.send("POST", self._url, headers, content)
        try:
            raw = bytearray()
            async for piece in response.body():
                raw += piece
                if len(raw) > MOST_BYTES:
                    raise Unjudged("the verdict is too large")
            return response.status, bytes(raw)
        finally:
            response.close()

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._http is not None:
            await self._http.aclose()
