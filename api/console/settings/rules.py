"""What happens to personal data, which words may not be said, and a box to try both."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from api.console.forms import lines
from api.console.settings.layout import Section, back, settings_page
from api.console.visit import Visit, form, visit_of
from api.manage.desk import Desk
from gateway.accounts import moderation, personal_data, words
from gateway.accounts.change import Change
from gateway.errors import GatewayError, InvalidRequest
from gateway.guardrails.body import OFF_LOOP_BYTES
from gateway.guardrails.kinds import KINDS
from gateway.guardrails.personal import Policy
from gateway.guardrails.trial import Trial, try_text
from gateway.guardrails.words import MAX_WORDS

WORDS = 100
"""Of one page."""
LONGEST_TRIED = 20_000
"""Characters: what fits into the form."""
MOST_BYTES = 8 * 1024 * 1024
"""Of a form with words: 10,000 of them in Korean, each letter as nine characters."""


def rule_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""
    return [*_personal_routes(desk), *_word_routes(desk), *_moderation_routes(desk)]


def _personal_routes(desk: Desk) -> list[HTTPRouteHandler]:
    async def shown(
        request: Request[Any, Any, Any],
        error: GatewayError | None = None,
        trial: Trial | None = None,
        tried: str = "",
    ) -> Response[bytes]:
        visit = visit_of(request)
        policy = await desk.read(lambda connection: personal_data.get(connection, visit.org))
        return settings_page(
            request, desk, "personal_data", error=error, policy=policy, examples=KINDS, trial=trial, tried=tried,
            may_write=visit.may("personal_data.write"),
        )  # fmt: skip

    @get("/settings/personal_data", action="personal_data.read")
    async def personal_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await shown(request)

    @post("/settings/personal_data", action="personal_data.write", status_code=200)
    async def set_policy(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        kinds = {name: fields[f"kind_{name}"] for name in KINDS if f"kind_{name}" in fields}

        def work(change: Change) -> None:
            before = personal_data.get(change.connection, visit.org)
            changed = {
                kind.kind: kinds[kind.kind] for kind in before.kinds if kinds.get(kind.kind, kind.action) != kind.action
            }
            answers = "mask_output" in fields
            if changed or answers != before.mask_output:
                mask_output = None if answers == before.mask_output else answers
                personal_data.update(change, visit.org, changed, mask_output=mask_output)

        try:
            await desk.change(visit.person.person, work)
        except InvalidRequest as error:
            return await shown(request, error)
        return back("personal_data", "saved")

    @post(
        "/settings/personal_data/trial", action="personal_data.read", status_code=200, request_max_body_size=MOST_BYTES
    )
    async def try_policy(request: Request[Any, Any, Any]) -> Response[Any]:
        fields = await form(request)
        try:
            tried, trial = await _tried(desk, visit_of(request), fields)
        except InvalidRequest as error:
            return await shown(request, error)
        return await shown(request, trial=trial, tried=tried)

    return [personal_page, set_policy, try_policy]


def _word_routes(desk: Desk) -> list[HTTPRouteHandler]:
    section: Section = "words"

    async def shown(
        request: Request[Any, Any, Any],
        error: GatewayError | None = None,
        typed: str = "",
        trial: Trial | None = None,
        tried: str = "",
    ) -> Response[bytes]:
        visit = visit_of(request)
        listed, judged = await desk.read(
            lambda connection: (
                words.load(connection, visit.org).words,
                moderation.get(connection, visit.org, desk.parts.moderation.judge),
            )
        )
        wanted = visit.query.get("q", "").strip()
        fitting = [word for word in listed if wanted.casefold() in word.casefold()]
        start = _page_number(visit.query.get("page", ""))
        return settings_page(
            request, desk, section, error=error, words=fitting[start * WORDS : (start + 1) * WORDS], count=len(listed),
            fitting=len(fitting), wanted=wanted, start=start, pages=-(-len(fitting) // WORDS), typed=typed, most=MAX_WORDS,
            trial=trial, tried=tried, may_write=visit.may("words.write"), moderation=judged,
        )  # fmt: skip

    @get("/settings/words", action="words.read")
    async def words_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await shown(request)

    @post("/settings/words", action="words.write", status_code=200, request_max_body_size=MOST_BYTES)
    async def add_words(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        typed = fields.get("words", "")
        replaces = fields.get("how") == "replace"
        try:
            if not lines(typed):
                raise InvalidRequest("No words.", param="words")
            if replaces and "sure" not in fields:
                raise InvalidRequest("Replacing the list must be confirmed.", param="sure")
            work = words.replace if replaces else words.add
            await desk.change(visit.person.person, lambda change: work(change, visit.org, lines(typed)))
        except InvalidRequest as error:
            return await shown(request, error, typed)
        return back(section, "replaced" if replaces else "added")

    @post("/settings/words/removal", action="words.write")
    async def remove_word(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        await desk.change(visit.person.person, lambda change: words.remove(change, visit.org, [fields.get("word", "")]))
        return back(section, "removed")

    @post("/settings/words/trial", action="words.read", status_code=200, request_max_body_size=MOST_BYTES)
    async def try_words(request: Request[Any, Any, Any]) -> Response[Any]:
        fields = await form(request)
        try:
            tried, trial = await _tried(desk, visit_of(request), fields)
        except InvalidRequest as error:
            return await shown(request, error)
        return await shown(request, trial=trial, tried=tried)

    return [words_page, add_words, remove_word, try_words]


def _moderation_routes(desk: Desk) -> list[HTTPRouteHandler]:
    @post("/settings/words/moderation", action="words.write")
    async def set_moderation(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        judge, enabled = desk.parts.moderation.judge, "enabled" in fields
        await desk.change(
            visit.person.person, lambda change: moderation.update(change, visit.org, judge, enabled=enabled)
        )
        return back("words", "saved")

    return [set_moderation]


async def _tried(desk: Desk, visit: Visit, fields: dict[str, str]) -> tuple[str, Trial]:
    """A text and what would become of it. Nothing of it is kept. Raises ``InvalidRequest``."""
    tried = fields.get("text", "")
    if not 1 <= len(tried) <= LONGEST_TRIED:
        raise InvalidRequest("Nothing to try, or too much.", param="text")
    actions, version = await desk.read(
        lambda connection: (personal_data.actions(connection, visit.org), words.version(connection, visit.org))
    )
    policy, listed = Policy.of(actions), await desk.parts.guardrails.word_list(visit.org, version)
    if len(tried) > OFF_LOOP_BYTES // 4:
        trial = await asyncio.to_thread(try_text, tried, policy, listed)
    else:
        trial = try_text(tried, policy, listed)
    return tried, trial if visit.may("words.read") else msgspec.structs.replace(trial, words=None)


def _page_number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
