"""Members: invited, given a role, let go."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from api.manage.desk import Desk
from api.manage.door import asked
from api.manage.pages import After, Limit, Page, id_place, paged
from api.manage.shapes import Done, Input
from gateway.accounts import links, mail, members
from gateway.accounts.links import Invitation
from gateway.accounts.members import KeysOfLeaver, Left, Member
from gateway.accounts.people import MemberRole


class Invite(Input, frozen=True):
    """Whom, and as what."""

    email: str
    role: MemberRole = "member"


class Invited(msgspec.Struct, frozen=True):
    """An invitation. ``token`` and ``link`` are shown this once: pass them on, unless ``mailed``."""

    invitation: Invitation
    token: str
    link: str
    mailed: bool


class ChangeRole(Input, frozen=True):
    """The new role."""

    role: MemberRole


class Removal(Input, frozen=True):
    """What becomes of the leaver's keys: ``deactivate`` stops them, ``hand_over`` gives them to the member ``to``."""

    keys: KeysOfLeaver
    to: str | None = None


class Invitations(msgspec.Struct, frozen=True):
    """All that are open: there are never many."""

    data: list[Invitation]


def member_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/members", action="member.read", tags=["members"])
    async def list_members(request: Request[Any, Any, Any], limit: Limit = 50, after: After = None) -> Page[Member]:
        org, start = asked(request).caller.org, id_place(after)
        found = await desk.read(lambda connection: members.listed(connection, org, after=start, most=limit + 1))
        return paged(found, limit, lambda member: member.person)

    @patch("/members/{person:str}", action="member.write", tags=["members"])
    async def change_role(request: Request[Any, Any, Any], person: FromPath[str], data: JSONBody[ChangeRole]) -> Member:
        caller = asked(request).caller
        return await desk.change(caller.actor, lambda change: members.set_role(change, caller.org, person, data.role))

    @post("/members/{person:str}/removal", action="member.write", tags=["members"], status_code=200)
    async def remove_member(request: Request[Any, Any, Any], person: FromPath[str], data: JSONBody[Removal]) -> Left:
        caller = asked(request).caller
        return await desk.change(
            caller.actor, lambda change: members.remove(change, caller.org, person, data.keys, data.to)
        )

    @get("/invitations", action="member.read", tags=["members"])
    async def list_invitations(request: Request[Any, Any, Any]) -> Invitations:
        org = asked(request).caller.org
        return Invitations(list(await desk.read(lambda connection: links.open_invitations(connection, org))))

    @post("/invitations", action="member.write", tags=["members"])
    async def invite_member(request: Request[Any, Any, Any], data: JSONBody[Invite]) -> Invited:
        caller = asked(request).caller
        made, token = await desk.change(
            caller.actor, lambda change: links.invite(change, caller.org, data.email, data.role, caller.person)
        )
        link = mail.link(desk.settings, "invitation", token)
        mailed = await mail.send_invitation(desk.settings, made.email, caller.org_name, link)
        return Invited(made, token, link, mailed)

    @delete("/invitations/{invitation:str}", action="member.write", tags=["members"], status_code=200)
    async def withdraw_invitation(request: Request[Any, Any, Any], invitation: FromPath[str]) -> Done:
        caller = asked(request).caller
        await desk.change(caller.actor, lambda change: links.withdraw(change, caller.org, invitation))
        return Done()

    return [list_members, change_role, remove_member, list_invitations, invite_member, withdraw_invitation]
