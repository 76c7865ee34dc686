"""Whom an organisation wants told: settings, secrets shown once, tests of the channels."""

from __future__ import annotations

import time
import uuid

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from gateway.accounts import alerts, alerts_log, people
from gateway.accounts.change import OPERATOR, Change, changing
from gateway.accounts.organisations import Organisation
from gateway.errors import Conflict, InvalidRequest, NotFound, RateLimitExceeded
from gateway.seal import Sealer

SEALER = Sealer(bytes(range(32)), alerts.PURPOSE)
HOOK = "https://example.com/hook"


def member(change: Change, org: str, role: str) -> str:
    email = f"{role}-{uuid.uuid4().hex}@example.kr"
    person = people.create(change, email, "김하나")
    people.join(change, org, person.id, role)  # pyright: ignore[reportArgumentType]
    return email


def test_without_settings_owners_and_finance_people_are_told_of_everything(
    engine: Engine, redis: Redis, org: Organisation
) -> None:
    with changing(engine, redis, OPERATOR) as change:
        owner, _, finance = (member(change, org.id, role) for role in ("owner", "member", "finance"))
        settings = alerts.get(change.connection, org.id)
        found = alerts_log.channels(change.connection, uuid.UUID(org.id), settings)
    assert settings.thresholds == [50, 80, 100]
    assert sorted(found) == sorted([("mail", owner), ("mail", finance)])


def test_a_first_webhook_shows_its_secret_once_and_a_rotation_makes_another(
    engine: Engine, redis: Redis, org: Organisation
) -> None:
    with changing(engine, redis, OPERATOR) as change:
        settings, first = alerts.update(change, org.id, {"webhook_url": HOOK}, SEALER)
        assert first is not None
        assert first.startswith("whsec_")
        _, again = alerts.update(change, org.id, {"webhook_url": HOOK + "2", "thresholds": [100, 50, 50]}, SEALER)
        second = alerts.rotate_secret(change, org.id, SEALER)
        sealed = change.connection.execute(
            text("SELECT webhook_secret FROM alert_settings WHERE org = :org"), {"org": org.id}
        ).scalar_one()
    assert settings.has_secret
    assert again is None
    assert first != second
    assert second.encode() not in sealed
    both = [second.encode(), first.encode()]
    assert alerts.opened_secrets(sealed, uuid.UUID(org.id), SEALER) == both
    a_day_on = time.time() + alerts.OVERLAP_S + 1
    assert alerts.opened_secrets(sealed, uuid.UUID(org.id), SEALER, a_day_on) == both[:1]
    with engine.connect() as connection:
        assert alerts.get(connection, org.id).thresholds == [50, 100]
        logged = connection.execute(
            text("SELECT details::text FROM audit_log WHERE org = :org"), {"org": org.id}
        ).scalars()
        assert not any("whsec" in details for details in logged)


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook_url": "http://127.0.0.1/hook"},
        {"webhook_url": "http://169.254.169.254/latest"},
        {"webhook_url": "ftp://example.com/"},
        {"webhook_url": "https://user:password@example.com/"},
        {"webhook_url": "https://example.com/" + "x" * 2_000},
        {"thresholds": [70]},
        {"emails": ["nobody"]},
        {"emails": [f"a{n}@example.kr" for n in range(21)]},
        {},
    ],
)
def test_settings_that_make_no_sense_are_refused(
    engine: Engine, redis: Redis, org: Organisation, wrong: alerts.Settings
) -> None:
    with pytest.raises(InvalidRequest), changing(engine, redis, OPERATOR) as change:
        alerts.update(change, org.id, wrong, SEALER)


def test_a_private_address_is_allowed_where_the_operator_allows_it(
    engine: Engine, redis: Redis, org: Organisation
) -> None:
    with changing(engine, redis, OPERATOR) as change:
        settings, _ = alerts.update(change, org.id, {"webhook_url": "http://127.0.0.1/h"}, SEALER, allow_private=True)
    assert settings.webhook_url == "http://127.0.0.1/h"


def test_a_rotation_without_a_webhook_and_an_unknown_organisation_are_refused(
    engine: Engine, redis: Redis, org: Organisation
) -> None:
    with pytest.raises(Conflict), changing(engine, redis, OPERATOR) as change:
        alerts.rotate_secret(change, org.id, SEALER)
    with pytest.raises(NotFound), changing(engine, redis, OPERATOR) as change:
        alerts.get(change.connection, str(uuid.uuid4()))


def test_a_test_goes_to_every_channel_and_only_so_often(engine: Engine, redis: Redis, org: Organisation) -> None:
    with pytest.raises(Conflict), changing(engine, redis, OPERATOR) as change:
        alerts_log.send_test(change, org.id)
    with changing(engine, redis, OPERATOR) as change:
        alerts.update(change, org.id, {"webhook_url": HOOK, "emails": ["Team@Example.kr"]}, SEALER)
        made = alerts_log.send_test(change, org.id)
    assert sorted((d.channel, d.target) for d in made) == [("mail", "team@example.kr"), ("webhook", HOOK)]
    assert {d.payload["type"] for d in made} == {"alert.test"}
    with engine.connect() as connection:
        listed = alerts_log.deliveries(connection, org.id)
        assert {d.id for d in listed} == {d.id for d in made}
        assert alerts_log.deliveries(connection, org.id, before=listed[0].id) == listed[1:]
    with changing(engine, redis, OPERATOR) as change:
        for _ in range(alerts_log.TESTS_PER_HOUR - 1):
            alerts_log.send_test(change, org.id)
        with pytest.raises(RateLimitExceeded):
            alerts_log.send_test(change, org.id)
