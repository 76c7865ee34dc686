"""Who asks, and whether they may: before anything else is looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, cast

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from api.manage.desk import Desk
from api.seen import seen
from api.sessions import check_csrf, check_json, header, token_of
from gateway.accounts import roles, sessions
from gateway.accounts.access import Looker
from gateway.accounts.identity import Role
from gateway.accounts.roles import Action
from gateway.errors import InvalidApiKey, InvalidRequest

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]

OPEN = "open"
"""The action of what needs no credential: signing in, and links that work once."""
WITHOUT_ORGANISATION: frozenset[Action] = frozenset({
    "session.self", "installation.organizations", "installation.finance", "invoice.read", "export.read", "export.write",
})  # fmt: skip
"""What an operator can do before choosing an organisation."""


class Caller(msgspec.Struct, frozen=True):
    """Who asks. ``actor`` is what the audit log says; ``token`` is the session's, empty for API keys."""

    org: str
    org_name: str
    roles: tuple[Role, ...]
    person: str | None
    actor: str
    address: str
    token: str = ""
    session: sessions.Session | None = None

    @property
    def looker(self) -> Looker:
        """The caller as the access log names them."""
        return Looker(self.org, self.actor, self.address)


class Asked(msgspec.Struct, frozen=True):
    """A caller, and how far what they asked for reaches: ``own`` is the person it is limited to."""

    caller: Caller
    own: str | None


def asked(request: Request[Any, Any, Any]) -> Asked:
    """What the guard found out."""
    return cast("Asked", request.state.asked)


def guard(desk: Desk) -> Guard:
    """The guard of every route. A body must be JSON even where the world may call: a form of another page cannot."""

    async def check(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        scope = cast("dict[str, Any]", connection.scope)
        check_json(scope["method"], scope["headers"])
        wanted: Action | Literal["open"] = handler.opt["action"]  # a route without one fails: none is open by oversight
        if wanted == OPEN:
            return
        caller = await _caller(desk, scope)
        notes = seen(scope)
        notes.org = caller.org
        reach = roles.require(caller.roles, wanted)
        if not caller.org and wanted not in WITHOUT_ORGANISATION:
            raise InvalidRequest("Choose an organization first.", param="organization")
        if reach == "own" and caller.person is None:
            raise InvalidApiKey()
        connection.state.asked = Asked(caller, caller.person if reach == "own" else None)

    return check


async def _caller(desk: Desk, scope: dict[str, Any]) -> Caller:
    """By API key where one is sent, else by session. Raises ``InvalidApiKey``, ``PermissionDenied`` (CSRF)."""
    headers = scope["headers"]
    address = address_of(scope)
    if header(headers, b"x-api-key") or header(headers, b"authorization"):
        _, sha256 = await desk.parts.identities.authenticate(headers)
        identity = await desk.parts.identities.reload(sha256)  # a change is worth a look at what is true now
        seen(scope).key = identity.key_id
        return Caller(
            org=identity.org_id,
            org_name=identity.org_name,
            # what runs the installation needs a person who is there: a key of an operator's is an owner's
            roles=("owner" if identity.role == "operator" else identity.role,),
            person=identity.person_id,
            actor=f"key:{identity.key_id}",
            address=address,
        )
    token = token_of(headers)
    found = None if token is None else await desk.read(lambda connection: sessions.find(connection, token))
    if token is None or found is None:
        raise InvalidApiKey()
    check_csrf(desk.settings.hash_key, token, scope["method"], headers)
    return Caller(
        org=found.org or "",
        org_name=found.org_name or "",
        roles=found.roles,
        person=found.person,
        actor=found.person,
        address=address,
        token=token,
        session=found,
    )


def address_of(scope: dict[str, Any]) -> str:
    """Where the request comes from, as the server saw it (a trusted proxy may have said)."""
    client = scope.get("client")
    return str(client[0]) if client else ""
