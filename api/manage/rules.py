"""What may not be said, and what happens to personal data."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get, patch, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from api.manage.desk import Desk
from api.manage.door import asked
from api.manage.pages import After, Limit, Page, paged, place
from api.manage.shapes import Input
from gateway.accounts import moderation, personal_data, words
from gateway.accounts.moderation import Moderation
from gateway.accounts.personal_data import Policy
from gateway.accounts.words import Changed
from gateway.guardrails.kinds import Action


class WordsBody(Input, frozen=True):
    """Words or phrases, each up to 100 characters; a list holds 10,000."""

    words: list[str]


class KindChoice(Input, frozen=True):
    """What happens to one kind."""

    kind: str
    action: Action


class ChangePersonalData(Input, frozen=True):
    """The kinds to change; the others stay. ``mask_output``: mask answers too."""

    kinds: list[KindChoice] = msgspec.field(default_factory=list[KindChoice])
    mask_output: bool | None = None


class ChangeModeration(Input, frozen=True):
    """Whether every prompt is judged by the operator's moderation endpoint before it leaves."""

    enabled: bool


def rule_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/forbidden-words", action="words.read", tags=["rules"])
    async def list_words(request: Request[Any, Any, Any], limit: Limit = 50, after: After = None) -> Page[str]:
        org, start = asked(request).caller.org, place(after)
        found = await desk.read(lambda connection: words.page(connection, org, after=start, most=limit + 1))
        return paged(found, limit, lambda word: word)

    @post("/forbidden-words", action="words.write", tags=["rules"], status_code=200)
    async def add_words(request: Request[Any, Any, Any], data: JSONBody[WordsBody]) -> Changed:
        caller = asked(request).caller
        return await desk.change(caller.actor, lambda change: words.add(change, caller.org, data.words))

    @post("/forbidden-words/removal", action="words.write", tags=["rules"], status_code=200)
    async def remove_words(request: Request[Any, Any, Any], data: JSONBody[WordsBody]) -> Changed:
        caller = asked(request).caller
        return await desk.change(caller.actor, lambda change: words.remove(change, caller.org, data.words))

    @put("/forbidden-words", action="words.write", tags=["rules"])
    async def replace_words(request: Request[Any, Any, Any], data: JSONBody[WordsBody]) -> Changed:
        caller = asked(request).caller
        return await desk.change(caller.actor, lambda change: words.replace(change, caller.org, data.words))

    @get("/personal-data", action="personal_data.read", tags=["rules"])
    async def show_personal_data(request: Request[Any, Any, Any]) -> Policy:
        org = asked(request).caller.org
        return await desk.read(lambda connection: personal_data.get(connection, org))

    @patch("/personal-data", action="personal_data.write", tags=["rules"])
    async def change_personal_data(request: Request[Any, Any, Any], data: JSONBody[ChangePersonalData]) -> Policy:
        caller = asked(request).caller
        kinds = {choice.kind: choice.action for choice in data.kinds}
        return await desk.change(
            caller.actor,
            lambda change: personal_data.update(change, caller.org, kinds, mask_output=data.mask_output),
        )

    @get("/moderation", action="personal_data.read", tags=["rules"])
    async def show_moderation(request: Request[Any, Any, Any]) -> Moderation:
        org, judge = asked(request).caller.org, desk.parts.moderation.judge
        return await desk.read(lambda connection: moderation.get(connection, org, judge))

    @put("/moderation", action="words.write", tags=["rules"])
    async def change_moderation(request: Request[Any, Any, Any], data: JSONBody[ChangeModeration]) -> Moderation:
        caller, judge = asked(request).caller, desk.parts.moderation.judge
        return await desk.change(
            caller.actor, lambda change: moderation.update(change, caller.org, judge, enabled=data.enabled)
        )

    rules = [list_words, add_words, remove_words, replace_words]
    return [*rules, show_personal_data, change_personal_data, show_moderation, change_moderation]
