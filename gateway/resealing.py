"""Values at rest, sealed anew with the installation's secret where one that is only accepted sealed them.

What is sealed elsewhere needs none of this: jobs, kept answers and the cookie of a sign-in live for a day at most.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.accounts import alerts
from gateway.db.tables.alerts import alert_settings
from gateway.db.tables.deployments import deployment
from gateway.deployments import store
from gateway.seal import Sealer, Unsealable


class Found(msgspec.Struct, frozen=True):
    """How many values the installation's own secret had sealed, how many an accepted one, and which of them neither."""

    own: int
    accepted: int
    unopenable: list[str]


class _Place(NamedTuple):
    what: str
    purpose: str
    id: sa.Column[Any]
    value: sa.Column[Any]


_PLACES = (
    _Place("deployment", store.PURPOSE, deployment.c.id, deployment.c.api_key),
    _Place("webhook of", alerts.PURPOSE, alert_settings.c.org, alert_settings.c.webhook_secret),
)


def look(connection: Connection, sealer: Callable[[str], Sealer], *, reseal: bool = False) -> Found:
    """What is stored. With ``reseal`` what an accepted secret had sealed is sealed with the installation's own after it,
    in the caller's transaction; what does not open stays as it is.

    Args:
        sealer: the installation's, by purpose.
    """
    own, accepted, unopenable = 0, 0, list[str]()
    for place in _PLACES:
        ours = sealer(place.purpose)
        rows = sa.select(place.id, place.value).where(place.value.is_not(None)).order_by(place.id)
        for key, sealed in connection.execute(rows.with_for_update() if reseal else rows).all():
            try:
                renewed = ours.renewed(bytes(sealed), _bound_to(key))
            except Unsealable:
                unopenable.append(f"{place.what} {key}")
                continue
            own += renewed is None
            accepted += renewed is not None
            if reseal and renewed is not None:
                connection.execute(sa.update(place.id.table).where(place.id == key).values({place.value.name: renewed}))
    return Found(own, accepted, unopenable)


def _bound_to(key: str | uuid.UUID) -> bytes:
    return key.bytes if isinstance(key, uuid.UUID) else key.encode()
