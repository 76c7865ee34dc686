"""Organisations: their window, their limits, their versions; top-up requests."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import pytest
from redis import Redis
from sqlalchemy import Engine, select

from gateway.accounts import organisations, topups
from gateway.accounts.change import OPERATOR, changing
from gateway.accounts.organisations import Organisation
from gateway.credit import upkeep
from gateway.db.tables.accounts import audit_log, topup_request
from gateway.errors import Conflict, InvalidRequest, NotFound
from tests.gateway.accounts.conftest import Relay


def test_only_the_outbox_makes_an_organisations_window(engine: Engine, redis: Redis, relay: Relay) -> None:
    with changing(engine, redis, OPERATOR) as change:
        made = organisations.create(change, {"name": "회사", "billing": "postpaid", "policy": "strict"})
    assert upkeep.read(redis, made.id) is None
    assert not organisations.wait_for_window(redis, made.id, 0.01)
    assert relay(made.id) == ["applied"]
    assert organisations.wait_for_window(redis, made.id, 1)
    assert upkeep.read(redis, made.id) == upkeep.Reading(made.id, 0, 0, 0, seq=1, version=1)


def test_a_change_raises_the_version_and_the_window_knows_it_at_once(
    engine: Engine, redis: Redis, org: Organisation, relay: Relay
) -> None:
    with changing(engine, redis, OPERATOR) as change:
        changed = organisations.update(change, org.id, {"month_limit_won": Decimal("1000000.5"), "rpm": 5})
    assert (changed.version, changed.month_limit_won, changed.rpm) == (2, Decimal("1000000.5"), 5)
    window = upkeep.read(redis, org.id)
    assert window is not None
    assert (window.version, window.seq) == (2, 1)
    assert relay(org.id) == ["known", "applied"]
    window = upkeep.read(redis, org.id)
    assert window is not None
    assert (window.version, window.seq) == (2, 2)


def test_a_limit_can_be_taken_away(engine: Engine, redis: Redis, org: Organisation) -> None:
    with changing(engine, redis, OPERATOR) as change:
        organisations.update(change, org.id, {"concurrency": 0})
        assert organisations.update(change, org.id, {"concurrency": None}).concurrency is None


def test_a_closed_organisation_stays_closed(engine: Engine, redis: Redis, org: Organisation) -> None:
    with changing(engine, redis, OPERATOR) as change:
        organisations.update(change, org.id, {"state": "closed"})
    with pytest.raises(Conflict), changing(engine, redis, OPERATOR) as change:
        organisations.update(change, org.id, {"state": "active"})


@pytest.mark.parametrize(
    ("terms", "param"),
    [
        ({"name": ""}, "name"),
        ({"billing": "free"}, "billing"),
        ({"policy": "lax"}, "policy"),
        ({"state": "gone"}, "state"),
        ({"month_limit_won": Decimal(9_000_000_001)}, "month_limit_won"),
        ({"rpm": -1}, "rpm"),
        ({"tpm": 2**31}, "tpm"),
    ],
)
def test_a_wrong_term_is_refused_by_name(
    engine: Engine, redis: Redis, org: Organisation, terms: organisations.Terms, param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused, changing(engine, redis, OPERATOR) as change:
        organisations.update(change, org.id, terms)
    assert refused.value.param == param


def test_an_organisation_is_found_by_id_and_by_a_name_that_only_it_has(
    engine: Engine, redis: Redis, org: Organisation
) -> None:
    name = f"하나뿐인 {uuid.uuid4()}"
    with changing(engine, redis, OPERATOR) as change:
        only = organisations.create(change, {"name": name, "billing": "prepaid"})
        organisations.create(change, {"name": org.name, "billing": "prepaid"})
    with engine.connect() as connection:
        assert organisations.find(connection, org.id).id == org.id
        assert organisations.find(connection, name).id == only.id
        with pytest.raises(Conflict):
            organisations.find(connection, org.name)
        for unknown in ("nobody", str(uuid.uuid4())):
            with pytest.raises(NotFound):
                organisations.find(connection, unknown)


def test_organisations_are_listed_page_by_page(engine: Engine, redis: Redis, org: Organisation) -> None:
    with changing(engine, redis, OPERATOR) as change:
        organisations.create(change, {"name": "하나", "billing": "prepaid"})
    with engine.connect() as connection:
        everything = [o.id for o in organisations.listed(connection)]
        first = organisations.listed(connection, most=1)
        rest = organisations.listed(connection, after=first[0].id)
    assert [first[0].id, *(o.id for o in rest)] == everything
    assert org.id in everything


def test_a_top_up_is_asked_for_once_per_reference(engine: Engine, redis: Redis, org: Organisation) -> None:
    with changing(engine, redis, "someone") as change:
        first = topups.request(change, org.id, 50_000, "transfer", "R-1")
        again = topups.request(change, org.id, 50_000, "transfer", "R-1")
    assert first == again
    assert first.state == "pending"
    with engine.connect() as connection:
        rows = connection.execute(select(topup_request).where(topup_request.c.org == org.id)).all()
        traces = connection.execute(select(audit_log).where(audit_log.c.action == "topup.request")).all()
    assert [(row.amount_won, row.requested_by) for row in rows] == [(50_000, "someone")]
    assert [row.subject for row in traces if str(row.org) == org.id] == [first.id]
    with pytest.raises(Conflict), changing(engine, redis, "someone") as change:
        topups.request(change, org.id, 50_001, "transfer", "R-1")


def test_only_promotional_credit_expires(engine: Engine, redis: Redis, org: Organisation) -> None:
    end = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)
    with changing(engine, redis, OPERATOR) as change:
        assert topups.request(change, org.id, 1, "promotion", "P", expires_at=end).expires_at == end
        with pytest.raises(InvalidRequest):
            topups.request(change, org.id, 1, "card", "C", expires_at=end)
