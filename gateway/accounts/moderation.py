"""Whether an organisation wants its prompts judged by the operator's moderation endpoint."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.accounts import organisations
from gateway.accounts.change import Change
from gateway.accounts.store import OrganisationSettings
from gateway.db.tables.accounts import organisation
from gateway.errors import InvalidRequest, NotFound
from gateway.guardrails.moderation import Judge


class Moderation(msgspec.Struct, frozen=True):
    """``enabled``: every prompt is judged before it leaves. ``available``: the operator has named an endpoint, and the
    organisation's switches let it read. ``provider``: whose it is."""

    enabled: bool
    available: bool
    provider: str | None


def get(connection: Connection, org: str, judge: Judge | None) -> Moderation:
    """As it stands. Raises ``NotFound``."""
    o = organisation.c
    query = sa.select(o.settings, o.domestic_only, o.no_training).where(o.id == uuid.UUID(org))
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"no organisation {org}")
    enabled = msgspec.convert(row.settings, OrganisationSettings).moderation
    may = judge is not None and judge.may_read(domestic_only=row.domestic_only, no_training=row.no_training)
    return Moderation(enabled, may, None if judge is None else judge.provider)


def update(change: Change, org: str, judge: Judge | None, *, enabled: bool) -> Moderation:
    """Turns it on or off. Raises ``InvalidRequest`` where it could judge nothing, ``NotFound``, ``Conflict``."""
    before = get(change.connection, org, judge)
    if enabled and judge is None:
        raise InvalidRequest("no moderation endpoint is configured in this installation", param="enabled")
    if enabled and not before.available:
        raise InvalidRequest("the moderation endpoint is outside what the organisation permits", param="enabled")

    def settle(stored: dict[str, Any]) -> dict[str, Any]:
        return stored | {"moderation": enabled}

    organisations.touch(change, org, settle)
    change.audit("moderation.set", org, uuid.UUID(org), now={"enabled": enabled}, was={"enabled": before.enabled})
    return msgspec.structs.replace(before, enabled=enabled)
