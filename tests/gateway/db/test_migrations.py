"""The schema from nothing, what each role may do, and what cannot be changed by anyone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from gateway.db import connect, migrate
from gateway.db.base import metadata
from gateway.db.seed import seed
from gateway.db.tables.accounts import organisation
from gateway.db.tables.alerts import alert, alert_delivery, alert_settings
from gateway.db.tables.catalogue import price
from gateway.db.tables.ledger import window_org
from gateway.db.tables.people import one_time_link, session
from gateway.db.tables.policy import access_log, forbidden_words
from gateway.db.tables.privacy import deletion_proof, guardrail_event, retention_setting

OURS = {
    "organisation", "person", "membership", "api_key", "audit_log", "topup_request", "organisation_seq", "outbox",
    "price", "exchange_rate", "model_state", "window_epoch", "session", "one_time_link",
    "forbidden_words", "access_log", "alert_settings", "alert", "alert_delivery", "window_org",
    "retention_setting", "deletion_proof", "guardrail_event",
}  # fmt: skip


@pytest.fixture(scope="module")
def engine(database_url: str) -> Iterator[Engine]:
    seed(database_url)
    engine = connect.engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def roles(database_url: str) -> Iterator[dict[str, Engine]]:
    """An engine per process role, each signed in as that role."""
    password = secrets.token_hex(8)
    migrate.upgrade(database_url, dict.fromkeys(migrate.ROLES, password))
    place = database_url.rpartition("@")[2]
    engines = {role: connect.engine(f"postgresql://{role}:{password}@{place}") for role in migrate.ROLES}
    yield engines
    for role_engine in engines.values():
        role_engine.dispose()


def refused(engine: Engine, statement: str) -> bool:
    """Whether the role lacks the right; the statement leaves nothing behind."""
    with engine.connect() as connection:
        try:
            connection.exec_driver_sql(statement)
        except ProgrammingError as error:
            if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
                return True
            raise
        connection.rollback()
    return False


def test_the_migrated_schema_is_the_one_that_the_code_knows(engine: Engine) -> None:
    def ours(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
        return kind != "table" or name in OURS  # other rooms answer for their tables

    with engine.connect() as connection:
        options = {"target_metadata": metadata, "compare_type": True, "include_object": ours}
        found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    known = (
        organisation, price, session, one_time_link, forbidden_words, access_log, alert_settings, alert, alert_delivery,
        window_org, retention_setting, deletion_proof, guardrail_event,
    )  # fmt: skip
    assert {table.name for table in known} < OURS & set(metadata.tables)
    assert found == []


def test_migrating_twice_changes_nothing(database_url: str, engine: Engine) -> None:
    migrate.upgrade(database_url)
    seed(database_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM window_epoch").scalar_one() == 1
        assert connection.exec_driver_sql("SELECT count(*) FROM exchange_rate").scalar_one() == 1


def test_a_role_with_a_password_may_connect(roles: dict[str, Engine]) -> None:
    with roles["wonrouter_api"].connect() as connection:
        assert connection.exec_driver_sql("SELECT current_user").scalar_one() == "wonrouter_api"


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("wonrouter_api", "INSERT INTO organisation (id, name, billing) VALUES (gen_random_uuid(), 'n', 'prepaid')"),
        ("wonrouter_api", "UPDATE api_key SET last_used_at = now()"),
        ("wonrouter_api", "INSERT INTO audit_log (actor, action, subject) VALUES ('a', 'b', 'c')"),
        ("wonrouter_api", "SELECT * FROM audit_log"),
        ("wonrouter_api", "SELECT 1 FROM price, exchange_rate, window_epoch"),
        ("wonrouter_worker", "SELECT * FROM price"),
        ("wonrouter_billing", "SELECT name, email FROM person"),
        ("wonrouter_billing", "SELECT id, name FROM api_key"),
        ("wonrouter_billing", "UPDATE window_epoch SET epoch = epoch + 1"),
        ("wonrouter_billing", "DELETE FROM outbox WHERE applied_at < now()"),
        ("wonrouter_billing", "UPDATE topup_request SET state = 'booked', booked_at = now()"),
    ],
)
def test_a_role_may_do_its_work(roles: dict[str, Engine], role: str, statement: str) -> None:
    assert not refused(roles[role], statement)


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("wonrouter_api", "INSERT INTO price (id) VALUES ('x')"),
        ("wonrouter_api", "UPDATE price SET input_usd = 1"),
        ("wonrouter_api", "DELETE FROM exchange_rate"),
        ("wonrouter_api", "UPDATE audit_log SET actor = 'nobody'"),
        ("wonrouter_api", "DELETE FROM audit_log"),
        ("wonrouter_api", "TRUNCATE audit_log"),
        ("wonrouter_api", "UPDATE outbox SET balance_micro = 1"),
        ("wonrouter_api", "DELETE FROM organisation"),
        ("wonrouter_api", "UPDATE window_epoch SET epoch = 1"),
        ("wonrouter_api", "UPDATE topup_request SET state = 'booked'"),
        ("wonrouter_api", "DELETE FROM one_time_link"),
        ("wonrouter_api", "UPDATE access_log SET actor = 'nobody'"),
        ("wonrouter_api", "DELETE FROM access_log"),
        ("wonrouter_api", "UPDATE usage SET won = 0"),
        ("wonrouter_api", "DELETE FROM forbidden_words"),
        ("wonrouter_api", "INSERT INTO invoice (id) VALUES (gen_random_uuid())"),
        ("wonrouter_api", "INSERT INTO entry (txn) VALUES (gen_random_uuid())"),
        ("wonrouter_api", "UPDATE task SET result = '{}'"),
        ("wonrouter_api", "INSERT INTO task_part (task, seq, bytes) VALUES (gen_random_uuid(), 0, '')"),
        ("wonrouter_api", "INSERT INTO invariant_run (found, violations) VALUES ('{}', 0)"),
        ("wonrouter_billing", "INSERT INTO task (kind) VALUES ('reconcile')"),
        ("wonrouter_api", "UPDATE alert_delivery SET state = 'delivered'"),
        ("wonrouter_api", "INSERT INTO alert (id) VALUES (gen_random_uuid())"),
        ("wonrouter_worker", "SELECT * FROM alert_settings"),
        ("wonrouter_billing", "UPDATE alert_settings SET webhook_url = NULL"),
        ("wonrouter_billing", "UPDATE alert_delivery SET payload = '{}'"),
        ("wonrouter_worker", "SELECT * FROM session"),
        ("wonrouter_billing", "SELECT * FROM session"),
        ("wonrouter_worker", "SELECT * FROM organisation"),
        ("wonrouter_worker", "SELECT * FROM api_key"),
        ("wonrouter_billing", "SELECT password_hash FROM person"),
        ("wonrouter_billing", "SELECT hash FROM api_key"),
        ("wonrouter_billing", "UPDATE organisation SET month_limit_won = NULL"),
        ("wonrouter_billing", "UPDATE topup_request SET amount_won = 1"),
        ("wonrouter_billing", "UPDATE exchange_rate SET rate = 1"),
        ("wonrouter_billing", "DELETE FROM audit_log"),
        ("wonrouter_billing", "DELETE FROM access_log"),
        ("wonrouter_billing", "UPDATE usage SET user_hash = NULL"),
        ("wonrouter_billing", "INSERT INTO deletion_proof (class) VALUES ('x')"),
        ("wonrouter_billing", "SELECT forget_end_user(gen_random_uuid(), 'x', 'x')"),
        ("wonrouter_api", "UPDATE usage SET user_hash = NULL"),
        ("wonrouter_api", "INSERT INTO deletion_proof (class) VALUES ('x')"),
        ("wonrouter_api", "SELECT retire('session', now(), 1)"),
        ("wonrouter_worker", "SELECT * FROM guardrail_event"),
    ],
)
def test_a_role_may_do_nothing_else(roles: dict[str, Engine], role: str, statement: str) -> None:
    assert refused(roles[role], statement)


@pytest.mark.parametrize("change", ["UPDATE price SET input_usd = 1", "DELETE FROM exchange_rate", "TRUNCATE price"])
def test_even_the_owner_cannot_change_a_published_price_or_rate(engine: Engine, change: str) -> None:
    with pytest.raises(Exception, match="is append-only"), engine.begin() as connection:
        connection.exec_driver_sql(change)


@pytest.mark.parametrize("log", ["audit_log", "access_log"])
def test_even_the_owner_cannot_change_a_log_or_shorten_it_by_less_than_two_years(engine: Engine, log: str) -> None:
    rows = {
        "audit_log": "INSERT INTO audit_log (at, actor, action, subject) VALUES (:at, 'a', 'b', 'c')",
        "access_log": "INSERT INTO access_log (at, org, actor, address, action, subject, reason, records) "
        "VALUES (:at, gen_random_uuid(), 'a', 'b', 'c', 'd', 'e', 1)",
    }
    with engine.begin() as connection:
        for age in ("3 years", "1 year"):
            connection.exec_driver_sql(rows[log].replace(":at", f"now() - interval '{age}'"))
    for change, says in (
        (f"UPDATE {log} SET actor = 'x'", "append-only"), (f"TRUNCATE {log}", "append-only"), (f"DELETE FROM {log}", "two years"),
    ):  # fmt: skip
        with pytest.raises(Exception, match=says), engine.begin() as connection:
            connection.exec_driver_sql(change)
    with engine.begin() as connection:
        old = connection.exec_driver_sql(f"DELETE FROM {log} WHERE at < now() - interval '2 years 1 day'")
        assert old.rowcount >= 1
