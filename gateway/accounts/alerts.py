"""Whom an organisation wants told when 50, 80 or 100 % of a limit is used, and over which channels.

Billing decides and delivers (``billing.alerts``); what was raised and how telling went is in
``gateway.accounts.alerts_log``. Without settings of its own an organisation's owners and finance people get mail.
"""

from __future__ import annotations

import contextlib
import secrets
import time
import uuid
from collections.abc import Sequence
from typing import Any, TypedDict, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping
from sqlalchemy.dialects.postgresql import insert

from gateway.accounts import people
from gateway.accounts.change import Change
from gateway.db.tables.accounts import organisation
from gateway.db.tables.alerts import alert_settings
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.http import ForbiddenAddress, checked_url
from gateway.seal import Sealer, Unsealable

THRESHOLDS = (50, 80, 100)
"""Percents of a limit. 50 to plan, 80 to act, 100 because calls are refused from then on."""
MOST_EMAILS = 20
"""Further addresses of one organisation: a team, not a mailing list run through us."""
LONGEST_URL = 2_000
PURPOSE = "webhook"
SECRET_BYTES = 32
OVERLAP_S = 24 * 3_600
"""Seconds that a rotated secret still signs beside the new one."""
SECRET_PREFIX = "whsec_"  # noqa: S105 every secret begins with it


class Settings(TypedDict, total=False):
    """What can be set. ``emails`` come on top of owners and finance people; ``webhook_url`` None = no webhook."""

    thresholds: Sequence[int]
    mail_people: bool
    emails: Sequence[str]
    webhook_url: str | None


class AlertSettings(msgspec.Struct, frozen=True):
    """An organisation's settings. ``has_secret``: the webhook's secret was made; it is shown only then."""

    thresholds: list[int]
    mail_people: bool
    emails: list[str]
    webhook_url: str | None
    has_secret: bool


DEFAULTS = AlertSettings(list(THRESHOLDS), mail_people=True, emails=[], webhook_url=None, has_secret=False)


def get(connection: Connection, org: str) -> AlertSettings:
    """An organisation's settings; the defaults where it has none. Raises ``NotFound``."""
    query = sa.select(alert_settings).where(alert_settings.c.org == _id(org))
    row = connection.execute(query).mappings().one_or_none()
    if row is not None:
        return _view(row)
    if connection.scalar(sa.select(organisation.c.id).where(organisation.c.id == _id(org))) is None:
        raise NotFound(f"no organisation {org}")
    return DEFAULTS


def update(
    change: Change, org: str, settings: Settings, sealer: Sealer, *, allow_private: bool = False
) -> tuple[AlertSettings, str | None]:
    """Changes what is given; what is left out stays.

    The first webhook gets a secret, which is returned this once (else None). ``sealer`` is the installation's for
    ``PURPOSE``; ``allow_private`` lets a webhook lead to a private address. Raises ``NotFound``, ``InvalidRequest``.
    """
    values = _checked(settings, allow_private=allow_private)
    if not values:
        raise InvalidRequest("nothing to change")
    before = _locked(change.connection, org)
    made: str | None = None
    if values.get("webhook_url") and before["webhook_secret"] is None:
        made = new_secret()
        values["webhook_secret"] = sealer.seal(made.encode(), _id(org).bytes)
    row = _write(change.connection, org, values)
    told = {name: value for name, value in values.items() if name != "webhook_secret"}
    change.audit("alerts.set", org, _id(org), **told)
    return _view(row), made


def rotate_secret(change: Change, org: str, sealer: Sealer) -> str:
    """Gives the webhook a new secret, which is returned this once; deliveries are signed with it from now on, and for
    ``OVERLAP_S`` also with the one before, so that a receiver may change over in its own time.

    Raises ``NotFound``, or ``Conflict`` where there is no webhook.
    """
    before = _locked(change.connection, org)
    if before["webhook_url"] is None:
        raise Conflict("there is no webhook")
    made = new_secret()
    kept = made
    with contextlib.suppress(Unsealable):  # under another installation's key it signed nothing either
        last = opened_secrets(before["webhook_secret"], _id(org), sealer)[0].decode()
        kept = f"{made}\n{last}\n{int(time.time()) + OVERLAP_S}"
    _write(change.connection, org, {"webhook_secret": sealer.seal(kept.encode(), _id(org).bytes)})
    change.audit("alerts.rotate_secret", org, _id(org))
    return made


def opened_secrets(sealed: bytes, org: uuid.UUID, sealer: Sealer, now: float | None = None) -> list[bytes]:
    """The webhook's secrets to sign with, the newest first; ``now`` is Unix time. Raises ``gateway.seal.Unsealable``."""
    newest, *before = sealer.open(sealed, org.bytes).split(b"\n")
    if before and (time.time() if now is None else now) < int(before[1]):
        return [newest, before[0]]
    return [newest]


def new_secret() -> str:
    """256 random bits, with a prefix by which scanners find leaked ones."""
    return SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def _locked(connection: Connection, org: str) -> RowMapping:
    """The settings' row, made where it is missing, locked. Raises ``NotFound``."""
    defaults = {
        "org": _id(org), "thresholds": DEFAULTS.thresholds, "mail_people": DEFAULTS.mail_people, "emails": [],
    }  # fmt: skip
    if connection.scalar(sa.select(organisation.c.id).where(organisation.c.id == _id(org))) is None:
        raise NotFound(f"no organisation {org}")
    connection.execute(insert(alert_settings).values(defaults).on_conflict_do_nothing())
    query = sa.select(alert_settings).where(alert_settings.c.org == _id(org)).with_for_update()
    return connection.execute(query).mappings().one()


def _write(connection: Connection, org: str, values: dict[str, Any]) -> RowMapping:
    statement = alert_settings.update().where(alert_settings.c.org == _id(org))
    changed = statement.values(values | {"changed_at": sa.func.now()})
    return connection.execute(changed.returning(alert_settings)).mappings().one()


def _checked(settings: Settings, *, allow_private: bool) -> dict[str, Any]:
    values = cast("dict[str, Any]", dict(settings))
    if "thresholds" in settings:
        chosen = set(settings["thresholds"])
        if not chosen <= set(THRESHOLDS):
            raise InvalidRequest("thresholds must be among 50, 80 and 100", param="thresholds")
        values["thresholds"] = sorted(chosen)
    if "emails" in settings:
        if len(settings["emails"]) > MOST_EMAILS:
            raise InvalidRequest(f"at most {MOST_EMAILS} further addresses", param="emails")
        values["emails"] = sorted({people.address(email) for email in settings["emails"]})
    if (url := settings.get("webhook_url")) is not None:
        values["webhook_url"] = _webhook(url, allow_private=allow_private)
    return values


def _webhook(url: str, *, allow_private: bool) -> str:
    """A URL that may be called. Names are resolved, and looked at again, at every delivery."""
    if len(url) > LONGEST_URL:
        raise InvalidRequest(f"webhook_url has more than {LONGEST_URL} characters", param="webhook_url")
    try:
        parsed = checked_url(url, allow_private)
    except ForbiddenAddress as refused:
        raise InvalidRequest(f"webhook_url: {refused}", param="webhook_url") from refused
    except ValueError as wrong:
        raise InvalidRequest("webhook_url is no URL", param="webhook_url") from wrong
    if parsed.user or parsed.password:
        raise InvalidRequest("webhook_url must hold no password", param="webhook_url")
    return url


def _view(row: RowMapping) -> AlertSettings:
    return AlertSettings(
        thresholds=row["thresholds"],
        mail_people=row["mail_people"],
        emails=row["emails"],
        webhook_url=row["webhook_url"],
        has_secret=row["webhook_secret"] is not None,
    )


def _id(org: str) -> uuid.UUID:
    try:
        return uuid.UUID(org)
    except ValueError:
        raise NotFound(f"no organisation {org}") from None
