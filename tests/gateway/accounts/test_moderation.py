"""Moderation is an organisation's choice, where the operator's endpoint may read what it sends; the register says so."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from redis import Redis
from sqlalchemy import Engine

from gateway.accounts import moderation, organisations
from gateway.accounts.change import OPERATOR, changing
from gateway.accounts.moderation import Moderation
from gateway.accounts.organisations import Organisation
from gateway.db.tables.accounts import audit_log
from gateway.deployments import register
from gateway.errors import InvalidRequest, NotFound
from gateway.guardrails.moderation import Judge

JUDGE = Judge("openai")
NOBODY = "00000000-0000-4000-8000-000000000000"


def test_it_is_off_until_an_owner_wants_it_and_every_change_is_audited(
    engine: Engine, redis: Redis, org: Organisation
) -> None:
    with changing(engine, redis, OPERATOR) as change:
        assert moderation.get(change.connection, org.id, JUDGE) == Moderation(False, True, "openai")
        assert moderation.update(change, org.id, JUDGE, enabled=True).enabled
    with changing(engine, redis, OPERATOR) as change:
        assert moderation.get(change.connection, org.id, JUDGE).enabled
        moderation.update(change, org.id, JUDGE, enabled=False)
        details = sa.select(audit_log.c.details).where(audit_log.c.action == "moderation.set").order_by(audit_log.c.id)
        told = change.connection.scalars(details).all()
        assert [(each["was"], each["now"]) for each in told] == [
            ({"enabled": False}, {"enabled": True}),
            ({"enabled": True}, {"enabled": False}),
        ]
        assert organisations.get(change.connection, org.id).version == org.version + 2


@pytest.mark.parametrize("switch", ["domestic_only", "no_training"])
def test_an_endpoint_that_may_not_read_cannot_be_turned_on_and_is_shown_as_not_permitted(
    engine: Engine, redis: Redis, org: Organisation, switch: str
) -> None:
    with changing(engine, redis, OPERATOR) as change:
        with pytest.raises(InvalidRequest):
            moderation.update(change, org.id, None, enabled=True)
        moderation.update(change, org.id, JUDGE, enabled=True)
        organisations.update(change, org.id, {switch: True})  # pyright: ignore[reportArgumentType]  # one of its names
        assert moderation.get(change.connection, org.id, JUDGE) == Moderation(True, False, "openai")
        *_, shown = register.recipients(change.connection, org.id, judge=JUDGE)
        assert (shown.purpose, shown.permitted) == (register.MODERATION, False)
        moderation.update(change, org.id, JUDGE, enabled=False)
        with pytest.raises(InvalidRequest):
            moderation.update(change, org.id, JUDGE, enabled=True)
        assert moderation.update(change, org.id, Judge("x", True, True), enabled=True).available


def test_the_register_names_the_endpoint_only_for_whom_it_reads(
    engine: Engine, redis: Redis, org: Organisation
) -> None:
    with changing(engine, redis, OPERATOR) as change:

        def purposes() -> list[str]:
            return [each.purpose for each in register.recipients(change.connection, org.id, judge=JUDGE)]

        assert register.MODERATION not in purposes()
        moderation.update(change, org.id, JUDGE, enabled=True)
        *_, shown = register.recipients(change.connection, org.id, judge=JUDGE)
        assert (shown.provider, shown.country, shown.permitted, shown.purpose) == (
            "openai", "US", True, register.MODERATION,
        )  # fmt: skip
        moderation.update(change, org.id, None, enabled=False)
        assert register.MODERATION not in purposes()
        with pytest.raises(NotFound):
            moderation.get(change.connection, NOBODY, JUDGE)
