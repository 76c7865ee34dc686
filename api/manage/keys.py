"""API keys: an owner's view of all, a member's of their own."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

import msgspec
from litestar import Request, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET, UnsetType
from sqlalchemy import Connection

from api.manage.desk import Desk
from api.manage.door import asked
from api.manage.pages import After, Limit, Page, id_place, paged
from api.manage.shapes import Done, Input, LimitOfModel, given, won_in, won_out
from gateway.accounts import keys
from gateway.accounts.change import Change
from gateway.accounts.keys import Key, State, Terms
from gateway.accounts.model_limits import ModelLimits
from gateway.errors import NotFound
from gateway.wire.job import Surface


class KeyView(msgspec.Struct, frozen=True):
    """A key without its secret. ``limit_krw`` counts all that it may ever spend; null = no limit.

    ``rpm`` and ``tpm``: requests and tokens in any 60 seconds; ``model_limits``: the same by model.
    """

    id: str
    name: str
    surface: Surface
    hint: str
    state: State
    limit_krw: str | None
    rpm: int | None
    concurrency: int | None
    tpm: int | None
    model_limits: ModelLimits
    models: list[str] | None
    expires_at: dt.datetime | None
    created_by: str | None
    created_at: dt.datetime
    last_used_at: dt.datetime | None


class NewKey(msgspec.Struct, frozen=True):
    """A key with its secret, which is shown this once."""

    key: str
    details: KeyView


class CreateKey(Input, frozen=True):
    """What a key may do. Null or left out: no limit, no end, every model."""

    name: str
    surface: Surface = "bizrouter"
    limit_krw: str | int | None = None
    rpm: int | None = None
    concurrency: int | None = None
    tpm: int | None = None
    model_limits: dict[str, LimitOfModel] = msgspec.field(default_factory=dict[str, LimitOfModel])
    models: list[str] | None = None
    expires_at: dt.datetime | None = None


class ChangeKey(Input, frozen=True):
    """What changes. Null takes a limit away; what is left out stays. ``model_limits`` replaces all."""

    name: str | UnsetType = UNSET
    state: keys.Settable | UnsetType = UNSET
    limit_krw: str | int | UnsetType | None = UNSET
    rpm: int | UnsetType | None = UNSET
    concurrency: int | UnsetType | None = UNSET
    tpm: int | UnsetType | None = UNSET
    model_limits: dict[str, LimitOfModel] | UnsetType = UNSET
    models: list[str] | UnsetType | None = UNSET
    expires_at: dt.datetime | UnsetType | None = UNSET


class RotateKey(Input, frozen=True):
    """``grace_s``: seconds for which the old secret still works; 0 stops it at once."""

    grace_s: int = 0


def key_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/keys", action="key.read", tags=["keys"])
    async def list_keys(
        request: Request[Any, Any, Any], limit: Limit = 50, after: After = None, deleted: FromQuery[bool] = False
    ) -> Page[KeyView]:
        a = asked(request)

        def work(connection: Connection) -> list[KeyView]:
            start = id_place(after)
            org, most = a.caller.org, limit + 1
            found = keys.page(connection, org, made_by=a.own, after=start, most=most, deleted=deleted)
            return [view(key) for key in found]

        return paged(await desk.read(work), limit, lambda key: key.id)

    @post("/keys", action="key.write", tags=["keys"])
    async def create_key(request: Request[Any, Any, Any], data: JSONBody[CreateKey]) -> NewKey:
        a = asked(request)
        fields = given(data)
        surface: Surface = fields.pop("surface")

        def work(change: Change) -> NewKey:
            made, secret = keys.create(change, a.caller.org, surface, terms(fields), a.caller.person)
            return NewKey(secret, view(made))

        return await desk.change(a.caller.actor, work)

    @get("/keys/{key_id:str}", action="key.read", tags=["keys"])
    async def show_key(request: Request[Any, Any, Any], key_id: FromPath[str]) -> KeyView:
        a = asked(request)
        return view(await desk.read(lambda connection: reachable(connection, key_id, a.caller.org, a.own)))

    @patch("/keys/{key_id:str}", action="key.write", tags=["keys"])
    async def change_key(request: Request[Any, Any, Any], key_id: FromPath[str], data: JSONBody[ChangeKey]) -> KeyView:
        a = asked(request)

        def work(change: Change) -> KeyView:
            reachable(change.connection, key_id, a.caller.org, a.own)
            return view(keys.update(change, key_id, terms(given(data)), a.caller.org))

        return await desk.change(a.caller.actor, work)

    @post("/keys/{key_id:str}/rotation", action="key.write", tags=["keys"])
    async def rotate_key(request: Request[Any, Any, Any], key_id: FromPath[str], data: JSONBody[RotateKey]) -> NewKey:
        a = asked(request)

        def work(change: Change) -> NewKey:
            reachable(change.connection, key_id, a.caller.org, a.own)
            changed, secret = keys.rotate(change, key_id, data.grace_s, a.caller.org)
            return NewKey(secret, view(changed))

        return await desk.change(a.caller.actor, work)

    @delete("/keys/{key_id:str}", action="key.write", tags=["keys"], status_code=200)
    async def delete_key(request: Request[Any, Any, Any], key_id: FromPath[str]) -> Done:
        a = asked(request)

        def work(change: Change) -> Done:
            reachable(change.connection, key_id, a.caller.org, a.own)
            keys.revoke(change, key_id, a.caller.org)
            return Done()

        return await desk.change(a.caller.actor, work)

    return [list_keys, create_key, show_key, change_key, rotate_key, delete_key]


def reachable(connection: Connection, key: str, org: str, own: str | None) -> Key:
    """The key, if it is the organisation's and, for who reaches only their own, theirs. Raises ``NotFound``."""
    found = keys.get(connection, key, org)
    if own is not None and found.created_by != own:
        raise NotFound(f"no key {key}")
    return found


def terms(fields: dict[str, Any]) -> Terms:
    """The fields of a body as accounts know them. Raises ``InvalidRequest``."""
    values = dict(fields)
    if "limit_krw" in values:
        values["limit_won"] = won_in(values.pop("limit_krw"), "limit_krw")
    return cast("Terms", values)


def view(key: Key) -> KeyView:
    """A key as the API shows it."""
    shown = {name: getattr(key, name) for name in KeyView.__struct_fields__ if name != "limit_krw"}
    return KeyView(limit_krw=won_out(key.limit_won), **shown)
