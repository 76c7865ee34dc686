"""Who signs in by a company's own identity provider: somebody invited, a member, or of a domain that stands for one."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.accounts import links, people
from gateway.accounts.change import Change
from gateway.accounts.people import Person
from gateway.db.tables.accounts import membership
from gateway.errors import PermissionDenied


def admit(change: Change, email: str, name: str, domains: Mapping[str, str]) -> Person:
    """The person with this address, which the provider has verified; open invitations for it are taken up.

    Args:
        change: an open one; its actor becomes the person.
        email: as ``people.address`` gives it.
        name: for a new account.
        domains: domain of an address -> organisation whose member everybody of it becomes. Whoever was let go there
            stays out.

    Raises ``PermissionDenied``: nobody invited them, or they are deactivated.
    """
    known = people.by_email(change.connection, email)
    if known is not None and known.state != "active":
        raise PermissionDenied("This account is deactivated.")
    invited = links.waiting_for(change.connection, email)
    home = domains.get(email.rpartition("@")[2])
    if known is None:
        if not invited and home is None:
            raise PermissionDenied("Nobody has invited this address.", details={"reason": "not_invited"})
        known = people.create(change, email, name)
    change.actor = known.id
    for org, role in invited:
        people.join(change, org, known.id, role)
    links.used_by_address(change.connection, email)
    if home is not None and not _ever_member(change.connection, home, known.id):
        people.join(change, home, known.id, "member")
    return known


def _ever_member(connection: Connection, org: str, who: str) -> bool:
    query = sa.select(membership.c.person)
    mine = query.where(membership.c.org == uuid.UUID(org), membership.c.person == uuid.UUID(who))
    return connection.execute(mine).one_or_none() is not None
