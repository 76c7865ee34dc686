"""What alerts were raised, how telling people went, and tests of the channels."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from gateway.accounts import alerts
from gateway.accounts.change import Change
from gateway.db.tables.accounts import membership, organisation, person
from gateway.db.tables.alerts import alert, alert_delivery
from gateway.errors import Conflict, RateLimitExceeded

Scope = Literal["month", "credit", "key"]
Channel = Literal["webhook", "mail"]
State = Literal["waiting", "delivered", "failed"]

TESTS_PER_HOUR = 10
"""Of one organisation: enough to set a receiver up, too few to pester an address with."""


class Try(msgspec.Struct, frozen=True):
    """One try to deliver. ``status`` is the receiver's HTTP status; ``error`` says what failed without one."""

    at: dt.datetime
    status: int | None = None
    error: str | None = None
    ms: int = 0


class Delivery(msgspec.Struct, frozen=True):
    """One message over one channel. ``next_at`` is when it is tried (again); ``alert`` None: a test."""

    id: str
    alert: str | None
    channel: Channel
    target: str
    payload: dict[str, Any]
    state: State
    attempts: list[Try]
    next_at: dt.datetime | None
    created_at: dt.datetime
    finished_at: dt.datetime | None


class Alert(msgspec.Struct, frozen=True):
    """A threshold that was passed. Amounts in micro-won.

    ``subject`` is the key's id, empty for the organisation's own limits; ``period`` the month (``YYYYMM``), or the
    top-up whose credit is meant.
    """

    id: str
    scope: Scope
    subject: str
    period: str
    percent: int
    limit_micro: int
    spent_micro: int
    raised_at: dt.datetime


def raised(connection: Connection, org: str, *, before: str | None = None, most: int = 50) -> Sequence[Alert]:
    """An organisation's alerts, newest first; ``before`` is the id of the last one shown."""
    query = sa.select(alert).where(alert.c.org == uuid.UUID(org))
    if before is not None:
        query = query.where(alert.c.id < uuid.UUID(before))
    rows = connection.execute(query.order_by(alert.c.id.desc()).limit(most)).mappings()
    return [Alert(**{f: _text(row[f]) for f in Alert.__struct_fields__}) for row in rows]


def deliveries(connection: Connection, org: str, *, before: str | None = None, most: int = 50) -> Sequence[Delivery]:
    """An organisation's deliveries, newest first; ``before`` is the id of the last one shown."""
    query = sa.select(alert_delivery).where(alert_delivery.c.org == uuid.UUID(org))
    if before is not None:
        query = query.where(alert_delivery.c.id < uuid.UUID(before))
    rows = connection.execute(query.order_by(alert_delivery.c.id.desc()).limit(most)).mappings()
    return [_delivery(row) for row in rows]


def send_test(change: Change, org: str) -> Sequence[Delivery]:
    """Puts a test message on every channel that is set; billing delivers it within seconds.

    Raises ``NotFound``, ``Conflict`` where no channel is set, ``RateLimitExceeded``.
    """
    settings = alerts.get(change.connection, org)
    org_id = uuid.UUID(org)
    d = alert_delivery.c
    hour = sa.func.now() - dt.timedelta(hours=1)
    tests = sa.select(sa.func.count(sa.distinct(d.payload["id"].astext))).where(
        d.org == org_id, d.alert.is_(None), d.created_at > hour
    )
    if (change.connection.scalar(tests) or 0) >= TESTS_PER_HOUR:
        raise RateLimitExceeded("Too many tests. Please wait.", retry_after_s=600)
    name = change.connection.scalar(sa.select(organisation.c.name).where(organisation.c.id == org_id))
    payload = {"id": str(uuid.uuid4()), "type": "alert.test", "organization": {"id": org, "name": name}}
    found = channels(change.connection, org_id, settings)
    if not found:
        raise Conflict("no channel is set")
    ids = append(change.connection, org_id, None, payload, found)
    change.audit("alerts.test", org, org_id, channels=len(ids))
    query = sa.select(alert_delivery).where(d.id.in_(ids)).order_by(d.id)
    return [_delivery(row) for row in change.connection.execute(query).mappings()]


def channels(connection: Connection, org: uuid.UUID, settings: alerts.AlertSettings) -> Sequence[tuple[Channel, str]]:
    """Where a message of this organisation goes at this moment: (channel, address), each address once."""
    found: list[tuple[Channel, str]] = []
    if settings.webhook_url is not None:
        found.append(("webhook", settings.webhook_url))
    addresses = set(settings.emails)
    if settings.mail_people:
        addresses |= set(_people(connection, org))
    return [*found, *(("mail", address) for address in sorted(addresses))]


def append(
    connection: Connection,
    org: uuid.UUID,
    raised_as: uuid.UUID | None,
    payload: dict[str, Any],
    to: Iterable[tuple[Channel, str]],
) -> list[uuid.UUID]:
    """Puts one message on its way to each of these addresses. Returns the deliveries' ids."""
    statement = alert_delivery.insert().returning(alert_delivery.c.id)
    rows = [
        {
            "id": sa.func.uuidv7(),
            "org": org,
            "alert": raised_as,
            "channel": channel,
            "target": target,
            "payload": payload,
        }
        for channel, target in to
    ]
    return [connection.execute(statement.values(row)).scalar_one() for row in rows]


def _people(connection: Connection, org: uuid.UUID) -> Sequence[str]:
    """The addresses of an organisation's owners and finance people."""
    query = (
        sa.select(person.c.email)
        .join(membership, membership.c.person == person.c.id)
        .where(
            membership.c.org == org,
            membership.c.state == "active",
            membership.c.role.in_(["owner", "finance"]),
            person.c.state == "active",
        )
    )
    return connection.execute(query).scalars().all()


def _delivery(row: RowMapping) -> Delivery:
    values = {field: _text(row[field]) for field in Delivery.__struct_fields__}
    values["attempts"] = msgspec.convert(row["attempts"], list[Try])
    if row["state"] != "waiting":
        values["next_at"] = None
    return Delivery(**values)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID) else value
