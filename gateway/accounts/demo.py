"""The demo organisation of ``wonrouter up``: something to call with, sign in with and pay with at once."""

from __future__ import annotations

import secrets
import time
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from gateway import redis as redis_clients
from gateway.accounts import keys, organisations, people, topups
from gateway.accounts.change import OPERATOR, Change, changing
from gateway.db import connect
from gateway.wire.job import Surface

NAME = "데모 회사"
EMAIL = "owner@demo.wonrouter.kr"
CREDIT_WON = 100_000
CREDIT_REFERENCE = "demo-credit"
POLL_S = 0.05


class _Owner(NamedTuple):
    org: str
    person: str
    password: str


def ensure_demo(database_url: str, redis_url: str, secret: str, *, known: dict[str, Any] | None) -> dict[str, Any]:
    """Makes the demo organisation, or what is missing of it, and returns how to use it.

    Args:
        database_url: the owner's.
        redis_url: where the new keys are made known.
        secret: the installation's; keys do not depend on it.
        known: what an earlier call returned. Keys and the password in it are kept as long as they work; the database
            has only their hashes, so without it there are new ones.

    Returns ``org``, ``bizrouter_key``, ``krouter_key``, ``console_email``, ``console_password``. The credit is asked
    for by the same request that operators make, and is there once billing runs.
    """
    del secret
    known = known or {}
    engine, redis = connect.engine(database_url), redis_clients.connect(redis_url)
    try:
        with changing(engine, redis, OPERATOR) as change:
            owner = _owner(change, known.get("console_password"))
            topups.request(change, owner.org, CREDIT_WON, "promotion", CREDIT_REFERENCE)
            return {
                "org": owner.org,
                "bizrouter_key": _key(change, owner, "bizrouter", known.get("bizrouter_key")),
                "krouter_key": _key(change, owner, "krouter", known.get("krouter_key")),
                "console_email": EMAIL,
                "console_password": owner.password,
            }
    finally:
        redis.close()
        engine.dispose()


def wait_until_usable(database_url: str, org: str, patience_s: float) -> bool:
    """Waits until billing has booked the credit and told the window, so that the first call finds both.

    Returns False if that took longer than ``patience_s``.
    """
    engine = connect.engine(database_url, pool_size=1)
    waiting = text(
        "SELECT EXISTS (SELECT FROM topup_request WHERE org = CAST(:org AS uuid) AND state = 'pending') "
        "OR EXISTS (SELECT FROM outbox WHERE org = CAST(:org AS uuid) AND applied_at IS NULL)"
    )
    deadline = time.monotonic() + patience_s
    try:
        while time.monotonic() < deadline:
            with engine.connect() as connection:
                if not connection.execute(waiting, {"org": org}).scalar_one():
                    return True
            time.sleep(POLL_S)
        return False
    finally:
        engine.dispose()


def _owner(change: Change, password: str | None) -> _Owner:
    """The demo organisation's owner, with a password that works."""
    person = people.by_email(change.connection, EMAIL)
    if person is None:
        password = secrets.token_urlsafe(12)
        person = people.create(change, EMAIL, "데모 관리자", password, operator=True)
    elif password is None or people.verify(change.connection, EMAIL, password) is None:
        password = secrets.token_urlsafe(12)
        people.set_password(change, person.id, password)
    owned = [org for org, role in people.organisations_of(change.connection, person.id) if role == "owner"]
    if owned:
        return _Owner(owned[0], person.id, password)
    org = organisations.create(change, {"name": NAME, "billing": "prepaid"}).id
    people.join(change, org, person.id, "owner")
    return _Owner(org, person.id, password)


def _key(change: Change, owner: _Owner, surface: Surface, known: str | None) -> str:
    if known is not None and _works(change.connection, known, owner.org, surface):
        return known
    return keys.create(change, owner.org, surface, {"name": f"demo {surface}"}, created_by=owner.person)[1]


def _works(connection: Connection, secret: str, org: str, surface: Surface) -> bool:
    key = keys.by_secret(connection, secret)
    return key is not None and (key.org, key.surface, key.state) == (org, surface, "active")
