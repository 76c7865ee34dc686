"""API keys: made and shown once, stopped and started, given a new secret, deleted."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from sqlalchemy import Connection

from api.console import BASE
from api.console.forms import limits_by_model, limits_text, lines, number
from api.console.rendering import explain, go, page
from api.console.visit import Visit, form, visit_of
from api.manage.desk import Desk
from api.manage.keys import reachable, terms
from api.manage.pages import id_place, paged
from gateway.accounts import keys, spending
from gateway.accounts.change import Change
from gateway.accounts.keys import Key, Settable
from gateway.errors import GatewayError, InvalidRequest
from gateway.money import won_text
from gateway.wire.ids import SEOUL
from gateway.wire.job import Surface

KEYS = 50
"""Of one page."""
PLACE = f"{BASE}/keys"
GRACES = (0, 3_600, 86_400, 7 * 86_400)
"""For how many seconds an old secret may go on working."""
FIELDS = ("name", "surface", "limit_krw", "rpm", "tpm", "concurrency", "models", "model_limits", "expires_at")


def key_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    async def listed(
        request: Request[Any, Any, Any], error: GatewayError | None = None, typed: dict[str, str] | None = None
    ) -> Response[bytes]:
        visit = visit_of(request)
        start = id_place(visit.query.get("after"))

        def work(connection: Connection) -> tuple[list[Key], dict[str, Decimal]]:
            found = list(keys.page(connection, visit.org, made_by=visit.own, after=start, most=KEYS + 1))
            return found, spending.by_key(connection, [key.id for key in found])

        found, spent = await desk.read(work)
        shown = paged(found, KEYS, lambda key: key.id)
        return page(
            request,
            "keys.html",
            settings=desk.settings,
            status=200 if error is None else error.status,
            problem="" if error is None else explain(visit, error),
            wrong=None if error is None else error.param,
            typed={name: (typed or {}).get(name, "") for name in FIELDS},
            keys=shown.data,
            next=shown.next,
            first=start is None,
            spent=spent,
            may_write=visit.may("key.write"),
        )

    @get("/keys", action="key.read")
    async def keys_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await listed(request)

    @post("/keys", action="key.write", status_code=200)
    async def create_key(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, typed = visit_of(request), await form(request)

        def work(change: Change) -> tuple[Key, str]:
            surface, values = asked_for(typed)
            return keys.create(change, visit.org, surface, terms(values), visit.person.person)

        try:
            made, secret = await desk.change(visit.person.person, work)
        except InvalidRequest as error:
            return await listed(request, error, typed)
        return page(request, "key_secret.html", settings=desk.settings, key=made, secret=secret, rotated=False, grace=0)

    return [keys_page, create_key, *_change_routes(desk), *_one_key_routes(desk)]


def _one_key_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """What is done to a key that is there."""

    @post("/keys/{key_id:str}/state", action="key.write")
    async def set_state(request: Request[Any, Any, Any], key_id: FromPath[str]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        state = cast("Settable", fields.get("state", ""))  # what it may be, accounts know
        await _change(desk, visit, key_id, lambda made: keys.update(made, key_id, {"state": state}, visit.org))
        return go(PLACE)

    @get("/keys/{key_id:str}/rotation", action="key.write")
    async def rotation_page(request: Request[Any, Any, Any], key_id: FromPath[str]) -> Response[bytes]:
        key = await _find(desk, visit_of(request), key_id)
        return page(request, "key_rotation.html", settings=desk.settings, key=key, graces=GRACES)

    @post("/keys/{key_id:str}/rotation", action="key.write", status_code=200)
    async def rotate_key(request: Request[Any, Any, Any], key_id: FromPath[str]) -> Response[bytes]:
        visit, fields = visit_of(request), await form(request)
        grace = number(fields.get("grace", ""), "grace") or 0
        made, secret = await _change(desk, visit, key_id, lambda made: keys.rotate(made, key_id, grace, visit.org))
        return page(
            request, "key_secret.html", settings=desk.settings, key=made, secret=secret, rotated=True, grace=grace
        )

    @get("/keys/{key_id:str}/deletion", action="key.write")
    async def deletion_page(request: Request[Any, Any, Any], key_id: FromPath[str]) -> Response[bytes]:
        key = await _find(desk, visit_of(request), key_id)
        return page(request, "key_deletion.html", settings=desk.settings, key=key)

    @post("/keys/{key_id:str}/deletion", action="key.write")
    async def delete_key(request: Request[Any, Any, Any], key_id: FromPath[str]) -> Response[Any]:
        visit = visit_of(request)
        await form(request)
        await _change(desk, visit, key_id, lambda made: keys.revoke(made, key_id, visit.org))
        return go(PLACE)

    return [set_state, rotation_page, rotate_key, deletion_page, delete_key]


def _change_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """Another name, other terms."""

    async def changing(
        request: Request[Any, Any, Any],
        key_id: str,
        error: GatewayError | None = None,
        typed: dict[str, str] | None = None,
    ) -> Response[bytes]:
        visit = visit_of(request)
        key = await _find(desk, visit, key_id)
        return page(
            request,
            "key_change.html",
            settings=desk.settings,
            status=200 if error is None else error.status,
            problem="" if error is None else explain(visit, error),
            wrong=None if error is None else error.param,
            key=key,
            typed=stored(key) | (typed or {}),
        )

    @get("/keys/{key_id:str}/change", action="key.write")
    async def change_page(request: Request[Any, Any, Any], key_id: FromPath[str]) -> Response[bytes]:
        return await changing(request, key_id)

    @post("/keys/{key_id:str}/change", action="key.write", status_code=200)
    async def change_key(request: Request[Any, Any, Any], key_id: FromPath[str]) -> Response[Any]:
        visit, typed = visit_of(request), await form(request)

        def work(made: Change) -> Key:
            _, values = asked_for(typed)
            known = keys.get(made.connection, key_id, visit.org)
            if typed.get("expires_at", "") == stored(known)["expires_at"]:
                del values["expires_at"]  # to the second as it was, not to the day
            return keys.update(made, key_id, terms(values), visit.org)

        try:
            await _change(desk, visit, key_id, work)
        except InvalidRequest as error:
            return await changing(request, key_id, error, typed)
        return go(PLACE)

    return [change_page, change_key]


async def _find(desk: Desk, visit: Visit, key_id: str) -> Key:
    return await desk.read(lambda connection: reachable(connection, key_id, visit.org, visit.own))


async def _change(desk: Desk, visit: Visit, key_id: str, work: Callable[[Change], Any]) -> Any:
    def checked(made: Change) -> Any:
        reachable(made.connection, key_id, visit.org, visit.own)
        return work(made)

    return await desk.change(visit.person.person, checked)


def asked_for(typed: dict[str, str]) -> tuple[Surface, dict[str, Any]]:
    """A new key's surface and terms from the form; an empty field sets no limit. Raises ``InvalidRequest``."""
    surface = typed.get("surface", "bizrouter")
    if surface not in ("bizrouter", "krouter"):
        raise InvalidRequest("No such API.", param="surface")
    values: dict[str, Any] = {"name": typed.get("name", "")}
    values["limit_krw"] = typed.get("limit_krw", "").replace(",", "") or None
    values["rpm"] = number(typed.get("rpm", ""), "rpm")
    values["tpm"] = number(typed.get("tpm", ""), "tpm")
    values["concurrency"] = number(typed.get("concurrency", ""), "concurrency")
    values["models"] = lines(typed.get("models", "").replace(",", "\n")) or None
    values["model_limits"] = limits_by_model(typed.get("model_limits", ""))
    last = typed.get("expires_at", "")
    values["expires_at"] = _end_of(last) if last else None
    return surface, values


def stored(key: Key) -> dict[str, str]:
    """A key's terms as its form shows them; the last day is the one before the moment when it ends."""
    last = None if key.expires_at is None else (key.expires_at - dt.timedelta(seconds=1)).astimezone(SEOUL).date()
    return {
        "name": key.name,
        "limit_krw": "" if key.limit_won is None else won_text(key.limit_won),
        "rpm": "" if key.rpm is None else str(key.rpm),
        "tpm": "" if key.tpm is None else str(key.tpm),
        "concurrency": "" if key.concurrency is None else str(key.concurrency),
        "models": "\n".join(key.models or ()),
        "model_limits": limits_text(key.model_limits),
        "expires_at": "" if last is None else last.isoformat(),
    }


def _end_of(day: str) -> dt.datetime:
    """The moment when a day of Seoul is over: the key works on the day that was chosen."""
    try:
        last = dt.date.fromisoformat(day)
        return dt.datetime.combine(last + dt.timedelta(days=1), dt.time(), SEOUL)
    except (ValueError, OverflowError):
        raise InvalidRequest("Not a date.", param="expires_at") from None
