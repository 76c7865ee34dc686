"""What would be masked or refused: a text or a request body is tried on the organisation's policy, and forgotten."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from sqlalchemy import Connection

from api.manage.desk import Desk
from api.manage.door import asked
from api.manage.shapes import Input
from gateway.accounts import personal_data, roles, words
from gateway.errors import InvalidRequest
from gateway.guardrails.body import OFF_LOOP_BYTES
from gateway.guardrails.personal import Policy
from gateway.guardrails.trial import LONGEST_TRIAL, Trial, try_body, try_text
from gateway.guardrails.words import WordList


class Try(Input, frozen=True):
    """Either a text or the body of a chat request; up to 200,000 characters."""

    text: str | None = None
    body: dict[str, Any] | None = None


def trial_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @post("/privacy/dry-run", action="personal_data.read", tags=["privacy"], status_code=200)
    async def try_policy(request: Request[Any, Any, Any], data: JSONBody[Try]) -> Trial:
        """Nothing of what is tried is stored or logged. ``words`` is null for those who may not see the list."""
        caller = asked(request).caller
        size = _size(data)

        def work(connection: Connection) -> tuple[dict[str, str], int]:
            return personal_data.actions(connection, caller.org), words.version(connection, caller.org)

        actions, version = await desk.read(work)
        policy, listed = Policy.of(actions), await desk.parts.guardrails.word_list(caller.org, version)
        if size > OFF_LOOP_BYTES:
            tried = await asyncio.to_thread(_try, data, policy, listed)
        else:
            tried = _try(data, policy, listed)
        if roles.scope_of(caller.roles, "words.read") is None:
            tried = msgspec.structs.replace(tried, words=None)
        return tried

    return [try_policy]


def _size(data: Try) -> int:
    """Characters of a text, bytes of a body. Raises ``InvalidRequest``: neither, both, or too much."""
    if (data.text is None) == (data.body is None):
        raise InvalidRequest("Give either 'text' or 'body'.", param="text")
    size = len(data.text) if data.text is not None else len(msgspec.json.encode(data.body))
    if size > LONGEST_TRIAL:
        raise InvalidRequest(f"At most {LONGEST_TRIAL:,} characters can be tried at once.", param="text")
    return size


def _try(data: Try, policy: Policy, listed: WordList | None) -> Trial:
    return try_text(data.text, policy, listed) if data.text is not None else try_body(data.body or {}, policy, listed)
