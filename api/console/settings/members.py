"""Members and invitations: invited, given a role, let go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from sqlalchemy import Connection

from api.console.settings.layout import back, settings_page
from api.console.visit import form, own_address, visit_of
from api.manage.desk import Desk
from api.manage.pages import id_place, paged
from gateway.accounts import links, mail, members
from gateway.accounts.links import Invitation
from gateway.accounts.members import KeysOfLeaver, Member
from gateway.accounts.people import MemberRole
from gateway.errors import Conflict, GatewayError, InvalidRequest

MEMBERS = 50
"""Of one page."""
ROLES: tuple[MemberRole, ...] = ("owner", "member", "finance")


def member_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""
    return [*_list_routes(desk), *_removal_routes(desk)]


def _list_routes(desk: Desk) -> list[HTTPRouteHandler]:
    async def listed(
        request: Request[Any, Any, Any], error: GatewayError | None = None, email: str = "", link: str = ""
    ) -> Response[bytes]:
        visit = visit_of(request)
        start = id_place(visit.query.get("after"))

        def work(connection: Connection) -> tuple[Sequence[Member], Sequence[Invitation]]:
            found = members.listed(connection, visit.org, after=start, most=MEMBERS + 1)
            return found, links.open_invitations(connection, visit.org)

        found, invitations = await desk.read(work)
        shown = paged(found, MEMBERS, lambda member: member.person)
        return settings_page(
            request, desk, "members", error=error, members=shown.data, next=shown.next, first=start is None,
            invitations=invitations, roles=ROLES, email=email, link=link, may_write=visit.may("member.write"),
        )  # fmt: skip

    @get("/settings/members", action="member.read")
    async def members_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await listed(request)

    @post("/settings/members/{person:str}/role", action="member.write", status_code=200)
    async def set_role(request: Request[Any, Any, Any], person: FromPath[str]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        try:
            role = _role(fields)
            await desk.change(visit.person.person, lambda change: members.set_role(change, visit.org, person, role))
        except Conflict:
            return await listed(request, Conflict(param="last_owner"))
        return back("members", "saved")

    @post("/settings/invitations", action="member.write", status_code=200)
    async def invite(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        email = fields.get("email", "")
        try:
            role = _role(fields)
            made, token = await desk.change(
                visit.person.person,
                lambda change: links.invite(change, visit.org, email, role, visit.person.person),
            )
        except Conflict:
            return await listed(request, Conflict(param="invitation"), email)
        except InvalidRequest as error:
            return await listed(request, error, email)
        where = mail.link(desk.settings, "invitation", token)
        if await mail.send_invitation(desk.settings, made.email, visit.person.org_name or "", where):
            return back("members", "added")
        return await listed(request, link=own_address(request, desk.settings) + mail.path("invitation", token))

    @post("/settings/invitations/{invitation:str}/withdrawal", action="member.write")
    async def withdraw(request: Request[Any, Any, Any], invitation: FromPath[str]) -> Response[Any]:
        visit = visit_of(request)
        await form(request)
        await desk.change(visit.person.person, lambda change: links.withdraw(change, visit.org, invitation))
        return back("members", "withdrawn")

    return [members_page, set_role, invite, withdraw]


def _removal_routes(desk: Desk) -> list[HTTPRouteHandler]:
    async def asked(request: Request[Any, Any, Any], person: str, error: GatewayError | None = None) -> Response[bytes]:
        visit = visit_of(request)

        def work(connection: Connection) -> tuple[Member, list[Member]]:
            leaver = members.get(connection, visit.org, person)
            others = members.listed(connection, visit.org)
            return leaver, [other for other in others if other.person != person and other.role != "finance"]

        leaver, heirs = await desk.read(work)
        return settings_page(
            request, desk, "members", error=error, template="settings_member_removal.html", leaver=leaver, heirs=heirs
        )

    @get("/settings/members/{person:str}/removal", action="member.write")
    async def removal_page(request: Request[Any, Any, Any], person: FromPath[str]) -> Response[bytes]:
        return await asked(request, person)

    @post("/settings/members/{person:str}/removal", action="member.write", status_code=200)
    async def remove(request: Request[Any, Any, Any], person: FromPath[str]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        keys = fields.get("keys", "deactivate")
        try:
            if keys not in ("deactivate", "hand_over"):
                raise InvalidRequest("Keys are deactivated or handed over.", param="keys")
            what: KeysOfLeaver = keys
            await desk.change(
                visit.person.person,
                lambda change: members.remove(change, visit.org, person, what, fields.get("to") or None),
            )
        except Conflict:
            return await asked(request, person, Conflict(param="last_owner"))
        except InvalidRequest as error:
            return await asked(request, person, error)
        return back("members", "removed")

    return [removal_page, remove]


def _role(fields: dict[str, str]) -> MemberRole:
    role = fields.get("role", "")
    if role not in ROLES:
        raise InvalidRequest("No such role.", param="role")
    return role
