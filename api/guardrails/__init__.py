"""Checks on what leaves for a provider: personal data and forbidden words, by the organisation's policy.

The rules themselves are ``gateway.guardrails``; here they meet a request: which policy, which words, on which thread.
They fail closed: what could not be checked does not leave.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

import msgspec
import structlog

from api import metrics
from api.guardrails.moderation import Moderation
from api.seen import Seen
from api.sources import SourceAway, WordsLoader
from gateway.accounts.identity import Identity
from gateway.errors import ForbiddenContent, InternalError, InvalidRequest, ServiceUnavailable
from gateway.guardrails.body import OFF_LOOP_BYTES, Checked, Refused, check_body
from gateway.guardrails.personal import Policy
from gateway.guardrails.words import WordList

INAPPROPRIATE = "부적절한 내용이 포함되어 있습니다"
"""What a caller reads whose prompt the moderation endpoint refused."""
LISTS = 200
"""Compiled word lists kept: one of 10,000 words takes some megabytes."""

log = structlog.get_logger()
_decoder = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()


class Guardrails:
    """The checks of one process, with the word lists that it has compiled.

    Args:
        words: PostgreSQL; None where no organisation has words (tests).
        moderation: asks the operator's moderation endpoint.
    """

    def __init__(self, words: WordsLoader | None, moderation: Moderation) -> None:
        self._loader = words
        self._moderation = moderation
        self._lists: OrderedDict[str, tuple[int, WordList]] = OrderedDict()
        self._loading = asyncio.Lock()

    async def check(self, identity: Identity, raw: bytes, notes: Seen) -> bytes:
        """The client's JSON as it may leave this process; the same object where nothing was masked.

        What was done is left in the request's ``notes``, for the organisation's audit.

        Raises ``ForbiddenContent`` (a word, a kind of personal data that the organisation blocks, or what its moderation
        found), ``InvalidRequest`` (a value that cannot be read) and ``ServiceUnavailable`` (the word list or a verdict
        cannot be had).
        """
        policy = Policy.of(identity.mask_kinds)
        words = await self.word_list(identity.org_id, identity.words_version)
        try:
            if len(raw) > OFF_LOOP_BYTES:
                checked = await asyncio.to_thread(_check, raw, policy, words)
            else:
                checked = _check(raw, policy, words)
        except Refused as refused:
            metrics.GUARDRAILS.labels("word" if refused.word else "blocked").inc()
            notes.word, notes.blocked = refused.word is not None, dict.fromkeys(refused.kinds, 1)
            log.info(
                "guardrail_refused",
                org=identity.org_id,
                key=identity.key_id,
                where=refused.location,
                kinds=list(refused.kinds),
                word=refused.word is not None,
            )
            raise
        if identity.moderation:
            await self._judge(identity, checked.body, len(raw), notes)
        if not checked.changed:
            return raw
        metrics.GUARDRAILS.labels("masked").inc()
        notes.add("masked", checked.kinds())
        log.info("guardrail_masked", org=identity.org_id, key=identity.key_id, kinds=checked.kinds())
        return _encoder.encode(checked.body)

    async def _judge(self, identity: Identity, body: dict[str, Any], size: int, notes: Seen) -> None:
        if found := sorted(await self._moderation.categories(identity, body, size)):
            metrics.GUARDRAILS.labels("moderated").inc()
            notes.blocked = {"moderation": 1}
            log.info("moderation_refused", org=identity.org_id, key=identity.key_id, categories=found)
            raise ForbiddenContent(INAPPROPRIATE, details={"categories": found})

    async def word_list(self, org: str, version: int) -> WordList | None:
        """An organisation's forbidden words, no older than ``version``; 0: it has none. Raises ``ServiceUnavailable``."""
        if not version:
            return None
        if (known := self._known(org, version)) is not None:
            return known
        async with self._loading:  # after a change every call wants the list at once; one of them fetches it
            known = self._known(org, version)
            return known if known is not None else await self._load(org)

    def _known(self, org: str, version: int) -> WordList | None:
        known = self._lists.get(org)
        if known is None or known[0] < version:
            return None
        self._lists.move_to_end(org)
        return known[1]

    async def _load(self, org: str) -> WordList:
        if self._loader is None:
            raise InternalError
        try:
            version, words = await self._loader.words(org)
        except SourceAway as exc:
            raise ServiceUnavailable from exc
        compiled = await asyncio.to_thread(WordList.compile, words)
        self._lists[org] = (version, compiled)
        while len(self._lists) > LISTS:
            self._lists.popitem(last=False)
        return compiled


def _check(raw: bytes, policy: Policy, words: WordList | None) -> Checked:
    try:
        body = _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as wrong:  # deep inside, where nobody has had to read so far
        raise InvalidRequest(f"The request body cannot be read: {wrong}") from wrong
    return check_body(body, policy, words)
