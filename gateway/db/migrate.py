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
from psycopg import sql
from sqlalchemy import Connection, text

from gateway.db import connect

ROLES = ("wonrouter_api", "wonrouter_worker", "wonrouter_billing")
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
            _ensure_roles(connection, passwords or {})
            config = Config()
            config.set_main_option("script_location", str(resources.files("gateway.db") / "migrations"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def _ensure_roles(connection: Connection, passwords: Mapping[str, str]) -> None:
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
