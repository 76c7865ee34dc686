"""Signing in and out, passwords, invitations taken up. What is open to the world is throttled and says little."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from sqlalchemy import Connection

from api.manage.desk import Desk
from api.manage.door import OPEN, Caller, address_of, asked
from api.manage.shapes import Done, Input
from api.sessions import cookie
from api.throttle import Throttle
from gateway.accounts import links, mail, organisations, people, sessions, vouched
from gateway.accounts.change import Change
from gateway.accounts.identity import Role
from gateway.accounts.organisations import get as get_organisation
from gateway.errors import InvalidApiKey, PermissionDenied

HASHES_AT_ONCE = 2
"""A password takes 64 MB and a core for some 50 ms: more at once would starve the calls that this process relays."""
SIGNED_OUT = "front"
"""The actor of what somebody does before we know who they are."""

T = TypeVar("T")


class SignIn(Input, frozen=True):
    """``organization``: where to act first, by id; left out, the oldest membership."""

    email: str
    password: str
    organization: str | None = None


class Place(msgspec.Struct, frozen=True):
    """An organisation in which somebody may act."""

    id: str
    name: str


class Me(msgspec.Struct, frozen=True):
    """Who is signed in. ``csrf_token`` goes into the X-CSRF-Token header of every change; null for API keys."""

    organization: Place | None
    roles: tuple[Role, ...]
    person: str | None = None
    name: str | None = None
    email: str | None = None
    csrf_token: str | None = None
    expires_at: dt.datetime | None = None


class Move(Input, frozen=True):
    """The organisation to act in from now on, by id."""

    organization: str


class ChangePassword(Input, frozen=True):
    """Ends every other session of the person."""

    current: str
    new: str


class AskReset(Input, frozen=True):
    """Whose password is forgotten."""

    email: str


class UseReset(Input, frozen=True):
    """The token of the link, and the new password."""

    token: str
    password: str


class Token(Input, frozen=True):
    """The token of an invitation."""

    token: str


class Accept(Input, frozen=True):
    """``password``: a new one, or that of the account that exists. ``name``: only for a new account."""

    token: str
    password: str
    name: str | None = None


class Places(msgspec.Struct, frozen=True):
    """Where the caller may act."""

    data: list[Place]


class Signing:
    """What the routes below share.

    Args:
        desk: PostgreSQL.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.secret = desk.settings.hash_key
        self.throttle = Throttle(desk.parts.redis, self.secret)
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)

    async def hashing(self, work: Callable[[], T]) -> T:
        """Runs argon2 away from the event loop."""
        async with self._hashing:
            return await asyncio.to_thread(work)

    async def verified(self, email: str, password: str, address: str) -> people.Person:
        """The person with that password. Raises ``InvalidApiKey`` (never says why), ``RateLimitExceeded``."""
        await self.throttle.attempt(email, address)
        found, stored = await self.desk.read(lambda connection: people.credentials(connection, email))
        right = await self.hashing(lambda: people.check_password(stored, password))
        if found is None or not right:
            raise InvalidApiKey("Wrong e-mail address or password.")
        await self.throttle.succeeded(email, address)
        return found

    async def begin(self, email: str, password: str, address: str, organisation: str | None = None) -> str:
        """Signs in and returns the session's token. Raises as ``verified`` does, and ``PermissionDenied``."""
        person = await self.verified(email, password, address)

        def work(change: Change) -> str:
            return sessions.begin(change, person.id, _first_place(change.connection, person, organisation))

        return await self.desk.change(person.id, work)

    async def begin_verified(self, email: str, name: str) -> str:
        """The same for an address that the configured identity provider vouches for. Raises ``PermissionDenied``."""
        domains = self.desk.settings.oidc_domains

        def work(change: Change) -> str:
            person = vouched.admit(change, email, name, domains)
            return sessions.begin(change, person.id, _first_place(change.connection, person, None))

        return await self.desk.change(SIGNED_OUT, work)

    async def end(self, actor: str, token: str) -> None:
        """Signs out."""

        def work(change: Change) -> None:
            sessions.end(change.connection, token)
            change.audit("session.end", actor)

        await self.desk.change(actor, work)

    async def ask_reset(self, email: str, address: str) -> None:
        """Mails a link to a new password to whoever has this address; says nothing of whether anybody has."""
        await self.throttle.attempt(f"reset {email}", address)
        background = asyncio.create_task(_reset(self.desk, email))  # an address that exists must not take longer
        _running.add(background)
        background.add_done_callback(_running.discard)

    async def use_reset(self, token: str, password: str, address: str) -> None:
        """Sets the new password. Raises ``NotFound``, ``InvalidRequest``, ``RateLimitExceeded``."""
        await self.throttle.attempt(f"token {token}", address)
        new_hash = await self.hashing(lambda: people.hash_password(password))
        await self.desk.change(SIGNED_OUT, lambda change: links.use_reset(change, token, new_hash))

    async def invitation(self, token: str, address: str) -> links.Invited:
        """What an invitation's token opens. Raises ``NotFound``, ``RateLimitExceeded``."""
        await self.throttle.attempt(f"token {token}", address)
        return await self.desk.read(lambda connection: links.invited(connection, token))

    async def accept(self, token: str, password: str, name: str | None, address: str) -> str:
        """Takes an invitation up and returns the token of a session in its organisation.

        Raises as ``invitation`` and ``verified`` do, ``InvalidRequest``, ``PermissionDenied``.
        """
        found = await self.invitation(token, address)
        new_hash = None
        if found.has_account:
            await self.verified(found.email, password, address)
        else:
            new_hash = await self.hashing(lambda: people.hash_password(password))

        def work(change: Change) -> str:
            person, org = links.accept(change, token, name=name, new_hash=new_hash)
            return sessions.begin(change, person.id, org)

        return await self.desk.change(SIGNED_OUT, work)

    async def change_password(self, found: sessions.Session, token: str, current: str, new: str, address: str) -> None:
        """Sets another password and ends the person's other sessions. Raises as ``verified``, and ``InvalidRequest``."""
        who = await self.verified(found.email, current, address)
        new_hash = await self.hashing(lambda: people.hash_password(new))

        def work(change: Change) -> None:
            people.keep_password(change, who.id, new_hash)
            sessions.end_all(change.connection, who.id, but=token)

        await self.desk.change(found.person, work)

    async def move(self, found: sessions.Session, token: str, organisation: str) -> str:
        """Goes on in another organisation; returns the new session's token. Raises ``NotFound``, ``PermissionDenied``."""

        def work(change: Change) -> str:
            return sessions.move(change, token, found, get_organisation(change.connection, organisation).id)

        return await self.desk.change(found.person, work)

    async def answer(self, request: Request[Any, Any, Any], token: str) -> Response[Me]:
        """Who is signed in now, with the cookie."""
        found = await self.desk.read(lambda connection: sessions.find(connection, token))
        if found is None:
            raise InvalidApiKey()
        jar = cookie(self.desk.settings, request.scope["scheme"], token)
        return Response(self.me(found, token), cookies=[jar])

    def me(self, found: sessions.Session, token: str) -> Me:
        """A session as its page sees it."""
        here = Place(found.org, found.org_name or "") if found.org is not None else None
        return Me(
            organization=here,
            roles=found.roles,
            person=found.person,
            name=found.name,
            email=found.email,
            csrf_token=sessions.csrf_token(self.secret, token),
            expires_at=found.expires_at,
        )


def open_routes(signing: Signing) -> list[HTTPRouteHandler]:
    """What needs no session: signing in, and links that work once."""

    @post("/session", action=OPEN, tags=["session"], status_code=200)
    async def sign_in(request: Request[Any, Any, Any], data: JSONBody[SignIn]) -> Response[Me]:
        address = address_of(dict(request.scope))
        return await signing.answer(request, await signing.begin(data.email, data.password, address, data.organization))

    @post("/password/reset", action=OPEN, tags=["session"], status_code=202)
    async def ask_reset(request: Request[Any, Any, Any], data: JSONBody[AskReset]) -> Done:
        await signing.ask_reset(data.email, address_of(dict(request.scope)))
        return Done()

    @post("/password/reset/confirmation", action=OPEN, tags=["session"], status_code=200)
    async def use_reset(request: Request[Any, Any, Any], data: JSONBody[UseReset]) -> Done:
        await signing.use_reset(data.token, data.password, address_of(dict(request.scope)))
        return Done()

    @post("/invitations/preview", action=OPEN, tags=["members"], status_code=200)
    async def show_invitation(request: Request[Any, Any, Any], data: JSONBody[Token]) -> links.Invited:
        return await signing.invitation(data.token, address_of(dict(request.scope)))

    @post("/invitations/acceptance", action=OPEN, tags=["members"], status_code=200)
    async def accept_invitation(request: Request[Any, Any, Any], data: JSONBody[Accept]) -> Response[Me]:
        address = address_of(dict(request.scope))
        return await signing.answer(request, await signing.accept(data.token, data.password, data.name, address))

    return [sign_in, ask_reset, use_reset, show_invitation, accept_invitation]


def session_routes(signing: Signing) -> list[HTTPRouteHandler]:
    """What somebody does with their own session."""
    desk = signing.desk

    @get("/session", action="session.self", tags=["session"])
    async def show_session(request: Request[Any, Any, Any]) -> Me:
        caller = asked(request).caller
        if caller.session is None:
            return Me(Place(caller.org, caller.org_name), caller.roles, caller.person)
        return signing.me(caller.session, caller.token)

    @delete("/session", action="session.self", tags=["session"], status_code=200)
    async def sign_out(request: Request[Any, Any, Any]) -> Response[Done]:
        caller = _signed_in(request)
        await signing.end(caller.actor, caller.token)
        return Response(Done(), cookies=[cookie(desk.settings, request.scope["scheme"], None)])

    @post("/session/organization", action="session.self", tags=["session"], status_code=200)
    async def change_organization(request: Request[Any, Any, Any], data: JSONBody[Move]) -> Response[Me]:
        caller = _signed_in(request)
        assert caller.session is not None
        return await signing.answer(request, await signing.move(caller.session, caller.token, data.organization))

    @get("/session/organizations", action="session.self", tags=["session"])
    async def list_places(request: Request[Any, Any, Any]) -> Places:
        caller = asked(request).caller
        if caller.session is None:
            return Places([Place(caller.org, caller.org_name)])
        person = caller.session.person
        found = await desk.read(lambda connection: organisations.of_person(connection, person))
        return Places([Place(org.id, org.name) for org in found])

    @post("/password", action="session.self", tags=["session"], status_code=200)
    async def change_password(request: Request[Any, Any, Any], data: JSONBody[ChangePassword]) -> Done:
        caller = _signed_in(request)
        assert caller.session is not None
        await signing.change_password(caller.session, caller.token, data.current, data.new, caller.address)
        return Done()

    return [show_session, sign_out, change_organization, list_places, change_password]


_running: set[asyncio.Task[None]] = set()


async def _reset(desk: Desk, email: str) -> None:
    """Mails a link to a new password, if somebody has this address. The operator's command shows one without mail."""
    found, _ = await desk.read(lambda connection: people.credentials(connection, email))
    if found is None or not mail.possible(desk.settings):
        return
    token = await desk.change(SIGNED_OUT, lambda change: links.reset(change, found.id))
    await mail.send_reset(desk.settings, found.email, mail.link(desk.settings, "reset", token))


def _signed_in(request: Request[Any, Any, Any]) -> Caller:
    caller = asked(request).caller
    if caller.session is None:
        raise PermissionDenied("Only somebody who is signed in can do this.")
    return caller


def _first_place(connection: Connection, person: people.Person, wanted: str | None) -> str | None:
    """Where a session begins. Raises ``PermissionDenied``: no such membership, or none at all."""
    mine = [org for org, _ in people.organisations_of(connection, person.id)]
    open_ = [org for org in mine if get_organisation(connection, org).state != "closed"]
    if wanted is not None:
        if wanted not in open_ and not person.operator:
            raise PermissionDenied("You are not a member of that organization.")
        return get_organisation(connection, wanted).id
    if not open_ and not person.operator:
        raise PermissionDenied("You are not a member of any organization.")
    return open_[0] if open_ else None
