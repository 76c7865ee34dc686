"""What happens to each kind of personal data in an organisation's prompts and answers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import structs
from sqlalchemy import Connection

from gateway.accounts import organisations
from gateway.accounts.change import Change
from gateway.accounts.store import OrganisationSettings
from gateway.db.tables.accounts import organisation
from gateway.errors import InvalidRequest, NotFound
from gateway.guardrails.kinds import ACTIONS, KINDS, Action


class KindPolicy(msgspec.Struct, frozen=True):
    """One kind: what happens to it, and what may be chosen. Registration and passport numbers are never let through."""

    kind: str
    label: str
    label_en: str
    action: Action
    choices: list[Action]


class Policy(msgspec.Struct, frozen=True):
    """All kinds, and whether answers are masked too."""

    kinds: list[KindPolicy]
    mask_output: bool


def get(connection: Connection, org: str) -> Policy:
    """An organisation's policy. Raises ``NotFound``."""
    query = sa.select(organisation.c.settings).where(organisation.c.id == uuid.UUID(org))
    stored = connection.scalar(query)
    if stored is None:
        raise NotFound(f"no organisation {org}")
    settings = msgspec.convert(stored, OrganisationSettings)
    kinds = [
        KindPolicy(
            kind=kind.name,
            label=kind.label_ko,
            label_en=kind.label_en,
            action=_action(settings.mask_kinds.get(kind.name), kind.default),
            choices=list(kind.choices),
        )
        for kind in KINDS.values()
    ]
    return Policy(kinds, settings.mask_output)


def actions(connection: Connection, org: str) -> dict[str, str]:
    """What happens to each kind, as the guardrails take it. Raises ``NotFound``."""
    return {kind.kind: kind.action for kind in get(connection, org).kinds}


def update(
    change: Change, org: str, kinds: Mapping[str, str] | None = None, *, mask_output: bool | None = None
) -> Policy:
    """Changes what happens to the kinds named, and to answers. Raises ``InvalidRequest``, ``NotFound``."""
    for name, action in (kinds or {}).items():
        kind = KINDS.get(name)
        if kind is None:
            raise InvalidRequest(f"unknown kind {name!r}: one of {', '.join(KINDS)}", param="kinds")
        if action not in kind.choices:
            raise InvalidRequest(f"{name} can be {' or '.join(kind.choices)}", param="kinds")
    if mask_output:
        # A switch that promises what no worker does yet would be worse than none.
        raise InvalidRequest("answers are not masked in this version; requests are", param="mask_output")
    if not kinds and mask_output is None:
        raise InvalidRequest("nothing to change")
    chosen, was = dict(kinds or {}), dict[str, object]()

    def settle(stored: dict[str, Any]) -> dict[str, Any]:
        settings = msgspec.convert(stored, OrganisationSettings)
        for name, action in chosen.items():
            was[name] = settings.mask_kinds.get(name, KINDS[name].default)
            settings.mask_kinds[name] = action
        if mask_output is not None:
            was["answers"], settings = settings.mask_output, structs.replace(settings, mask_output=mask_output)
        return stored | {"mask_kinds": settings.mask_kinds, "mask_output": settings.mask_output}

    organisations.touch(change, org, settle)
    now = chosen if mask_output is None else chosen | {"answers": mask_output}
    change.audit("personal_data.set", org, uuid.UUID(org), now=now, was=was)
    return get(change.connection, org)


def _action(chosen: str | None, default: Action) -> Action:
    for action in ACTIONS:
        if chosen == action:
            return action
    return default
