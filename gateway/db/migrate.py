"""Brings a database to the newest schema, and makes the roles the processes connect as.

Roles belong to the whole PostgreSQL server, so several databases on one server share them; making them is safe to
repeat and to race. ``wonrouter_api`` reads what billing owns through SELECT grants only; ``wonrouter_billing`` writes
the ledger but owns no table and may change or delete no entry; ``wonrouter_worker`` reads deployments.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, text

from gateway.db import connect

ROLES = ("wonrouter_api", "wonrouter_worker", "wonrouter_billing")
OLDEST_SERVER = 18
"""PostgreSQL's major version from which everything is there that the migrations use (``uuidv7``)."""
LOCK = 7_301_001
"""Advisory lock: two migrations at once wait for each other."""


def upgrade(database_url: str, passwords: Mapping[str, str] | None = None) -> None:
    """Migrates to the newest revision as the database's owner.

    Args:
        database_url: the owner's URL.
        passwords: role name -> password; the roles named get LOGIN with it. Others stay without login.
    """
    engine = connect.engine(database_url, statement_timeout_ms=None)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            ensure_roles(connection, passwords or {})
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def newest() -> str:
    """The revision that this program wants."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def revision(connection: Connection) -> str:
    """The revision that the database is at; empty for one that was never migrated."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("gateway.db") / "migrations"))
    return config


def ensure_roles(connection: Connection, passwords: Mapping[str, str]) -> None:
    """Makes the roles that the server does not have; those named get LOGIN with their password."""
    for role in ROLES:
        connection.execute(
            text(
                f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; "
                "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
            )
        )
        if password := passwords.get(role):
            raw = connection.connection.driver_connection
            assert raw is not None
            statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
            connection.exec_driver_sql(statement.as_string(raw).replace("%", "%%"))
    database = connection.execute(text("SELECT current_database()")).scalar_one()
    for role in ROLES:
        connection.exec_driver_sql(f'GRANT CONNECT ON DATABASE "{database}" TO {role}')
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA public TO {role}")
